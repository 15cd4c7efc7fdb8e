"""A run that is started again with changes: refused with what differs, or told to go on and recorded."""

import json

import jax
import pytest

from transformer_jax import config as config_lib
from transformer_jax.errors import UserError
from transformer_jax.parallel import mesh as mesh_lib
from transformer_jax.study.store import read_run
from transformer_jax.train import loop, program, rundir
from transformer_jax.train.checkpoint import Checkpoints

WORDS = "one two three four five six seven eight nine ten "


def tiny(path, **changes):
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.length, config.model.layers = f"text(path={str(path)!r})", 32, 1
    config.run.tensorboard = False
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


class Killed(BaseException):
    pass


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(WORDS * 100)
    return path


@pytest.fixture
def begun(tmp_path, book, monkeypatch):
    """A run of 8 steps that was killed when it had the checkpoint of step 4."""
    save = loop.Member.save

    def save_and_die(self, step, *args):
        save(self, step, *args)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop.Member, "save", save_and_die)
        loop.train(tiny(book), tmp_path / "run")
    return tmp_path / "run"


def contents(workdir):
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != ".lock"}


def refused(config, workdir, message, monkeypatch, **flags):
    """Before anything is compiled, and nothing is written."""
    before = contents(workdir)
    with monkeypatch.context() as patch:
        patch.setattr(program.Program, "lower_train", lambda *_: pytest.fail("it compiled"))
        patch.setattr(program.Program, "init", lambda *_: pytest.fail("it compiled"))
        with pytest.raises(UserError, match=message) as told:
            loop.train(config, workdir, **flags)
    assert contents(workdir) == before
    return str(told.value)


def test_changed_keys_are_refused_and_allowed_when_told(book, begun, monkeypatch, capsys):
    config = tiny(book, optim__learning_rate=1e-3, train__steps=12)
    told = refused(config, begun, "another config", monkeypatch)
    lines = ["optim.learning_rate: 0.002 -> 0.001", "train.steps: 8 -> 12"]
    assert all(line in told for line in lines) and "--allow_changes" in told
    result = loop.train(config, begun, allow_changes=True)
    assert result["step"] == 12
    assert "goes on from step 4" in capsys.readouterr().out
    (entry,) = json.loads((begun / "manifest.json").read_text())["changes"]
    assert (entry["step"], entry["changed"]) == (4, lines)
    assert json.loads((begun / "config.json").read_text()) == config_lib.to_dict(config)
    assert loop.train(config, begun) == result  # its config now, and its result
    refused(tiny(book), begun, "train.steps: 12 -> 8", monkeypatch)


def test_a_finished_run_goes_on_and_its_result_is_kept_in_the_record(book, tmp_path):
    first = loop.train(tiny(book), tmp_path / "run")
    longer = loop.train(tiny(book, train__steps=10, optim__schedule="constant"), tmp_path / "run", allow_changes=True)
    assert (first["step"], longer["step"]) == (8, 10)
    (entry,) = json.loads((tmp_path / "run/manifest.json").read_text())["changes"]
    assert entry["step"] == 8 and entry["result_before"] == first
    assert list(read_run(tmp_path / "run", "", 0).curve("train/loss")) == [2, 4, 6, 8, 10]


def test_other_data_are_refused_and_allowed_when_told(book, begun, monkeypatch):
    book.write_text(WORDS.replace("three", "drei") * 100)
    told = refused(tiny(book), begun, "has changed since it was begun", monkeypatch)
    assert "corpus_sha256" in told and str(book) in told
    assert loop.train(tiny(book), begun, allow_changes=True)["step"] == 8
    (entry,) = json.loads((begun / "manifest.json").read_text())["changes"]
    assert entry["step"] == 4 and entry["changed"][0].startswith("corpus_sha256: ")
    (begun / "result.json").unlink()
    loop.train(tiny(book), begun)  # these are its data now


def test_another_mesh_is_refused_and_replicas_are_not(book, begun, monkeypatch):
    told = json.loads((begun / "manifest.json").read_text())
    (begun / "manifest.json").write_text(json.dumps(told | {"mesh": told["mesh"] | {"data": 4, "replica": 2}}))
    assert refused(tiny(book), begun, "another mesh", monkeypatch).endswith("mesh data: 4 -> 1 devices")
    loop.train(tiny(book), begun, allow_changes=True)
    told = json.loads((begun / "manifest.json").read_text())
    assert told["changes"][0]["changed"] == ["mesh data: 4 -> 1 devices"]
    assert told["mesh"] == dict.fromkeys(mesh_lib.AXES, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model__width=64, model__ffn_size=64), r"params/.*: .* -> "),
        (dict(optim__ema=0.9), r"ema/.*: none -> "),
        (dict(data__tokenizer="bpe(vocab=280)"), r"reads 259 different tokens, and .* now gives"),
    ],
    ids=["width", "ema", "tokenizer"],
)
def test_what_the_checkpoint_does_not_fit_is_refused_whatever_is_allowed(book, begun, monkeypatch, change, message):
    told = refused(tiny(book, **change), begun, message, monkeypatch, allow_changes=True)
    assert "--allow_changes or not" in told


@pytest.mark.parametrize("workers", [0, 1])
def test_changed_batches_go_on_at_the_same_number(book, begun, workers):
    """Another batch size, and another number of workers, whose iterators have states of another kind."""
    changes = dict(data__batch_size=2) if not workers else dict(data__workers=workers)
    assert loop.train(tiny(book, **changes), begun, allow_changes=True)["step"] == 8
    compiled = loop.compiled_program(tiny(book), 259, loop.make_mesh(tiny(book).mesh))
    _, rest = Checkpoints(begun / "checkpoints", 2).restore(compiled.state_structs)
    assert rest["drawn"] == 8


@pytest.mark.parametrize("kills", ["manifest", "result", "config"])
def test_a_kill_while_changes_are_recorded_leaves_a_run_that_goes_on(book, tmp_path, monkeypatch, kills):
    workdir = tmp_path / "run"
    loop.train(tiny(book), workdir)
    changed = tiny(book, optim__b2=0.99)
    write = rundir.write_json

    def write_and_die(path, content):
        if kills == "result" and path.name == "config.json":
            raise Killed
        write(path, content)
        if path.name.startswith(kills):
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(rundir, "write_json", write_and_die)
        loop.train(changed, workdir, allow_changes=True)
    now = rundir.read_config(workdir)
    assert now.optim.b2 == (0.99 if kills == "config" else 0.95)
    assert loop.train(now, workdir)["status"] == "finished"  # of the config that is there, without a flag
    records = json.loads((workdir / "manifest.json").read_text()).get("changes", [])
    if kills != "manifest":  # where the result was still there, and nothing was written anew
        assert [each["changed"] for each in records] == ([["optim.b2: 0.95 -> 0.99"]] if kills == "config" else [])
    loop.train(changed, workdir, allow_changes=True)
    records = json.loads((workdir / "manifest.json").read_text())["changes"]
    assert [each["changed"] for each in records] == [["optim.b2: 0.95 -> 0.99"]]


def test_files_of_a_run_that_are_not_what_they_should_be_are_named(book, begun):
    for name, content in [
        ("config.json", "[1]"),
        ("manifest.json", '"x"'),
        ("manifest.json", "{"),
        ("config.json", ""),
    ]:
        before = (begun / name).read_text()
        (begun / name).write_text(content)
        with pytest.raises(UserError, match=rf"{name} cannot be read"):
            loop.train(tiny(book), begun)
        (begun / name).write_text(before)


def test_runs_that_train_together_refuse_changes_as_one(book, tmp_path):
    configs = [tiny(book, seed=seed) for seed in range(2)]
    workdirs = [tmp_path / str(seed) for seed in range(2)]
    loop.train_together(configs, workdirs, devices=jax.devices()[:1])
    (workdirs[1] / "result.json").unlink()
    with pytest.raises(UserError, match=r"optim.b1: 0.9 -> 0.8"):
        loop.train_together([configs[0], tiny(book, seed=1, optim__b1=0.8)], workdirs)
