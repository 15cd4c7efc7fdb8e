"""A stranger's directory may hold links and names that lead elsewhere: nothing is written there."""

import json
import os

import pytest
from study.report_fakes import noise, variants, write_study

from transformer_jax import config as config_lib
from transformer_jax.errors import UserError
from transformer_jax.files import check_links, locked, open_here, write_json
from transformer_jax.interop import kept
from transformer_jax.study.report import write_report
from transformer_jax.study.store import Store
from transformer_jax.study.units import read_plan
from transformer_jax.train import rundir


@pytest.fixture
def precious(tmp_path):
    """A file of the user's, that links lead to."""
    file = tmp_path / "precious"
    file.write_text("mine")
    yield file
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "config.json.partial", "tensorboard/events"])
def test_a_run_directory_with_a_link_that_leads_out_is_not_trained_in(name, precious, tmp_path):
    workdir = tmp_path / "run"
    (workdir / name).parent.mkdir(parents=True)
    (workdir / name).symlink_to(precious)
    with pytest.raises(UserError, match="is a link that leads out"):
        rundir.claim(workdir, config_lib.base())


def test_a_directory_may_itself_be_a_link_and_hold_links_to_its_own_files(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/a").touch()
    (tmp_path / "disk/b").symlink_to("a")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    check_links(tmp_path / "run")


def test_a_pipe_and_a_link_to_itself_are_refused(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match="neither a file nor a directory"):
        check_links(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="leads out"):
        check_links(tmp_path)


def test_files_are_not_written_through_links(precious, tmp_path):
    for name in ("config.json", "config.json.partial"):
        (tmp_path / name).symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        write_json(tmp_path / "config.json", {})
    (tmp_path / "config.json.partial").unlink()
    write_json(tmp_path / "config.json", {})  # takes the place of the link
    assert not (tmp_path / "config.json").is_symlink()
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / ".lock", ""):
        pass
    with pytest.raises(OSError, match="symbolic links"):
        open_here(tmp_path / ".lock")


@pytest.mark.parametrize("name", ["..", "../../run", "/etc", "a/b", "", "a\0b", 3, None])
def test_a_study_names_only_its_own_runs(name, tmp_path):
    study = write_study(tmp_path / "study", variants("rope", "alibi"), lambda label, seed: 2.0)
    declared = json.loads((study / "study.json").read_text())
    declared["trials"][0]["directory"] = name
    (study / "study.json").write_text(json.dumps(declared))
    with pytest.raises(UserError, match="no name of a file"):
        Store(study).runs()
    slot = {"label": "a", "seed": 0, "directory": "a", "changed": {}}
    unit = {"name": "a", "slots": [slot]}
    for plan in ({"name": name, "slots": []}, unit | {"slots": [slot | {"directory": name}]}):
        (study / "units.json").write_text(json.dumps({"format": 1, "base": {}, "units": [plan]}))
        with pytest.raises(UserError, match="no name of a file"):
            read_plan(study)


def test_a_report_is_not_written_through_links(precious, tmp_path):
    study = write_study(tmp_path / "study", variants("rope", "alibi"), lambda label, seed: 2.0 + noise(label, seed))
    (tmp_path / "elsewhere").mkdir()
    (study / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        write_report(study)
    (study / "report").unlink()
    (study / "report").mkdir()
    (study / "report/index.html").symlink_to(precious)
    with pytest.raises(UserError, match="leads out"):
        write_report(study)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_study_is_not_run_in_a_directory_with_links_that_lead_out(precious, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/.lock").symlink_to(precious)
    with pytest.raises(UserError, match="leads out"), Store(tmp_path / "study").locked():
        pass


def test_an_import_copies_no_file_from_elsewhere(precious, tmp_path):
    """What a link leads to would go into the run directory, and out again with an export."""
    source, target = tmp_path / "model", tmp_path / "kept"
    source.mkdir()
    target.mkdir()
    (source / "tokenizer_config.json").symlink_to(precious)
    with pytest.raises(UserError, match="leads out"):
        kept.copy_files(source, target)
    assert not list(target.iterdir())
    # The cache of the hub: snapshots/REVISION/FILE -> blobs/HASH.
    snapshot, blobs = tmp_path / "models/snapshots/abc", tmp_path / "models/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "123").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/123")
    kept.copy_files(snapshot, target)
    assert (target / "config.json").read_text() == "{}"
