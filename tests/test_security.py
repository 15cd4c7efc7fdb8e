"""A stranger's files: nothing in them is run, nothing is written beside them, and nothing shown gives orders."""

import csv
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study.report_fakes import noise, variants, write_study

from transformer_jax import config as config_lib
from transformer_jax.__main__ import main
from transformer_jax.data.tokenizers.base import load_tokenizer
from transformer_jax.errors import UserError, printable
from transformer_jax.interop import kept
from transformer_jax.interop.convert import Origin
from transformer_jax.registry import parse_pattern, parse_spec
from transformer_jax.study.report import write_report
from transformer_jax.terminal import Plain
from transformer_jax.train import loop, verify

DANGEROUS = (
    "=cmd|'/c calc'!A1 <script>alert(1)</script> \x1b]0;owned\x07 \\input{/etc/passwd}\r# | [x](javascript:y) \u202e"
)


# Files that are not what they should be.


@pytest.mark.parametrize(
    "spec",
    [
        "(" * 9_000,
        "rope(" * 2_000,
        "-" * 9_999 + "1",
        "[" * 9_999,
        "a(b=" + "-" * 9_000 + "1)",
        "rope(theta=" + "9" * 9_000 + ")",
        "x" * 1_000_000,
        "\ud800",
        "a\0b",
        "(rope)*1000000000",
        "((((rope)*9999)*9999)*9999)*9999",
        "rope(theta=__import__('os').system('false'))",
        "().__class__",
        "rope(**{})",
        "rope if 1 else 2",
    ],
    ids=lambda spec: spec[:20].encode("unicode_escape").decode(),
)
def test_specs_are_read_and_never_evaluated(spec):
    started = time.process_time()
    for parse in (parse_spec, parse_pattern):
        try:
            parse(spec)
        except UserError as error:
            assert len(str(error)) < 15_000
    with pytest.raises(UserError):
        parse_spec(spec)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "{}", "[]", "null", '{"format": "transformer_jax tokenizer 1"}']
    + [
        json.dumps({"format": "transformer_jax tokenizer 1", "spec": spec, "state": state})
        for spec in ("bpe", "word", "saved", "huggingface", "numbers", 5, None, ["byte"], "os.system", "byte(x=1)")
        for state in (5, {}, {"model": {}}, {"tokenizer": {}, "marks": {}})
    ],
    ids=lambda content: content[:80],
)
def test_a_tokenizer_that_is_none_is_refused(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    try:
        load_tokenizer(path)
    except UserError as error:
        assert "tokenizer" in str(error) or "spec" in str(error)


@pytest.mark.parametrize(
    "told",
    [{}, {"format": 5}, {"order": "abc"}, {"names": []}, {"dtypes": {"a": 1}}, {"kept": {}}, {"more": 1}, "deep"],
    ids=str,
)
def test_the_origin_of_an_import_is_checked(told, tmp_path):
    kept.write_origin(tmp_path, "gpt2", Origin())
    path = tmp_path / "origin.json"
    assert kept.read_origin(tmp_path)[0] == "gpt2"
    known = json.loads(path.read_text())
    path.write_text("[" * 100_000 if told == "deep" else json.dumps(known | told if told else {}))
    with pytest.raises(UserError):
        kept.read_origin(tmp_path)


# What is shown.


def test_a_report_obeys_nothing_that_a_study_says(tmp_path):
    made = [("plain", {"model.position": "rope"}), (DANGEROUS, {"model.position": "alibi"})]
    write_report(
        write_study(tmp_path, made, lambda label, seed: 2.0 + noise(label, seed), declared={"question": DANGEROUS})
    )
    report = tmp_path / "report"
    page = (report / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    markdown = (report / "report.md").read_text()
    assert "<script>" not in markdown and "\x1b" not in markdown and "[x](" not in markdown and "\r" not in markdown
    tex = (report / "table.tex").read_text()
    assert "\\input" not in tex and "\x1b" not in tex and "\\textbackslash{}input" in tex
    for name in ("results.csv", "comparisons.csv"):
        rows = list(csv.reader(io.StringIO((report / name).read_text())))
        cells = [cell for row in rows for cell in row]
        assert any(cell.startswith("'=cmd") for cell in cells)
        assert not any(cell.startswith(("=", "@", "+")) for cell in cells)


def test_a_terminal_gets_no_orders(tmp_path, capsys):
    assert printable("a\x1b[2J\x07\u202e\ud800\r\nb\tä€") == "a\\x1b[2J\\x07\\u202e\\ud800\\r\nb\tä€"
    stream = io.StringIO()
    print("run \x1b[31mred", file=Plain(stream))
    assert stream.getvalue() == "run \\x1b[31mred\n"
    evil = tmp_path / "\x1b]0;owned\x07"
    evil.mkdir()
    assert main(["evaluate", f"--workdir={evil}"]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told and "\\x1b]0;owned" in told


# A whole run directory, and what a command does with it.


class Owned:
    """Unpickled, it leaves a file behind."""

    def __init__(self, place: Path):
        self.place = str(place)

    def __reduce__(self):
        return Path.touch, (Path(self.place),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory, with files beside it that must not be run."""
    workdir = tmp_path_factory.mktemp("stranger") / "run"
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view = "copy(train=(1, 5), test=(6, 8), examples=60, held_out=12)", "prompt_answer"
    config.data.length, config.model.layers, config.run.tensorboard = 32, 1, False
    config.train.steps, config.train.eval_every = 2, 2
    loop.train(config, workdir, progress_file=io.StringIO())
    bomb = pickle.dumps(Owned(workdir.parent / "owned"))
    code = f"open({str(workdir.parent / 'owned')!r}, 'w')"
    (step,) = verify.steps(workdir / "checkpoints")
    files = ["state.pkl", "pytorch_model.bin", "checkpoints/data.pickle", f"checkpoints/{step}/state/bomb.pkl"]
    for name in files:
        (workdir / name).write_bytes(bomb)
    for name in ("config.py", "jax.py", "sitecustomize.py", "tokenizer.py", "conftest.py"):
        (workdir / name).write_text(code)
    verify.write_manifest(workdir / "checkpoints", step, workdir / "checkpoints" / str(step))  # who made it can do that
    return workdir


def watched(directory: Path, *argv: str) -> dict:
    scratch = directory.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    env = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(scratch)}
    worker = Path(__file__).with_name("security_worker.py")
    command = [sys.executable, str(worker), str(directory), *argv]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"out": done.stdout, "err": done.stderr}


def test_a_strangers_run_is_used_without_running_anything_of_it(trained):
    found = watched(trained, "evaluate", f"--workdir={trained}")
    assert found["code"] == 0, found["err"]
    assert found["seen"] == []
    assert not (trained.parent / "owned").exists()


@pytest.mark.slow
def test_a_strangers_study_is_reported_without_running_anything_of_it(tmp_path):
    study = tmp_path / "study"
    write_study(study, variants("rope", "<img src=x>"), lambda label, seed: 2.0 + noise(label, seed))
    for name in ("study.pkl", "runs/study.pkl", "study.py", "numpy.py"):
        (study / name).write_bytes(pickle.dumps(Owned(tmp_path / "owned")))
    found = watched(study, "study", "report", str(study))
    assert (found["code"], found["seen"]) == (0, []), found["err"]
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_cannot_name_what_reads_it(trained, tmp_path):
    """orbax's own files, changed so that they name other classes, places and drivers, with a manifest that fits."""
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    (step,) = verify.steps(workdir / "checkpoints")
    files = workdir / "checkpoints" / str(step)
    for path in files.rglob("*METADATA*"):
        told = path.read_text().replace("JsonHandler", "os.system").replace("jax.Array", "pickle.loads")
        path.write_text(told.replace("ocdbt", "http://127.0.0.1:9/ocdbt"))
    verify.write_manifest(workdir / "checkpoints", step, files)
    found = watched(workdir, "generate", f"--workdir={workdir}", "--prompt=abc", "--max_new=2")
    assert found["seen"] == []
    assert not (trained.parent / "owned").exists()
