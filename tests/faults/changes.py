"""Started again with another config, other data, another mesh: refused with what differs, unless told to go on."""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.faults.base import Bench, Row, devices, fault, resumed_from, said, tiny, train, write_config

_TEXT = "one two three four five six seven eight nine ten "
_CHANGES = [
    ("a changed config key", ("--config.optim.learning_rate=0.001",), "optim.learning_rate: 0.002 -> 0.001"),
    ("another number of workers", ("--config.data.workers=1",), "data.workers: 0 -> 1"),
    ("a mesh that is changed in the config", ("--config.mesh.fsdp=2",), "mesh.fsdp: 1 -> 2"),
]


@fault("changes")
def changes(bench: Bench) -> Iterator[Row]:
    book = bench.fresh("changes") / "book.txt"
    book.write_text(_TEXT * 200)
    corpus = f"text(path={str(book)!r})"
    config = tiny(train__steps=20, train__eval_every=20, data__corpus=corpus, data__view="text")
    path = write_config(config, book.with_name("config.py"))
    for what, flags, line in _CHANGES[: bench.times(3, 1)]:
        yield _refused_then_allowed(bench, path, what, line, *flags)
    for what, text, line in [
        ("data that have changed", _TEXT.replace("three", "drei") * 200, "corpus_sha256"),
    ]:
        yield _refused_then_allowed(bench, path, what, line, change=lambda text=text: book.write_text(text))
        book.write_text(_TEXT * 200)
    yield _another_mesh(bench, path)
    yield _impossible(bench, path, "another width", "--config.model.width=32", "params/")
    yield _impossible(bench, path, "another tokenizer", "--config.data.tokenizer=bpe(vocab=280)", "tokens")
    yield _vanished(bench, path, book)


def _begun(bench: Bench, path: Path) -> Path:
    """A run that was stopped in its middle."""
    workdir = bench.directory / "changes/run"
    bench.fresh("changes/run")
    code, output = train(bench, path, workdir, at="SIGTERM:step=3")
    assert code == 75, output
    return workdir


def _refused_then_allowed(bench: Bench, path: Path, what: str, line: str, *flags: str, change=lambda: None) -> Row:
    workdir = _begun(bench, path)
    change()
    before = _files(workdir)
    two = 2 if "mesh" in what else 1
    with devices(two):
        code, output = train(bench, path, workdir, *flags)
        refused = code == 2 and line in output and _files(workdir) == before
        second, told = train(bench, path, workdir, *flags, "--allow_changes")
    recorded = json.loads((workdir / "manifest.json").read_text()).get("changes", [])
    allowed = second == 0 and len(recorded) == 1 and any(line in each for each in recorded[0]["changed"])
    outcome = f"refused with “{line}…”, nothing written; with --allow_changes it went on from step {resumed_from(told)}"
    outcome += ", recorded in manifest.json"
    return Row(
        f"resume with {what}", 1, outcome if refused and allowed else f"{said(output)} / {told}", refused and allowed
    )


def _another_mesh(bench: Bench, path: Path) -> Row:
    """The config leaves `mesh.data` to the machine, and that has two devices now."""
    return _refused_then_allowed(bench, path, "more devices than before (mesh)", "mesh data: 1 -> 2")


def _impossible(bench: Bench, path: Path, what: str, flag: str, line: str) -> Row:
    workdir = _begun(bench, path)
    before = _files(workdir)
    code, output = train(bench, path, workdir, flag, "--allow_changes")
    good = code == 2 and line in output and _files(workdir) == before
    return Row(f"resume with {what}, and --allow_changes", 1, f"refused: “{_all(output)}…”", good)


def _vanished(bench: Bench, path: Path, book: Path) -> Row:
    workdir = _begun(bench, path)
    book.rename(book.with_name("moved.txt"))
    code, output = train(bench, path, workdir)
    book.with_name("moved.txt").rename(book)
    again, told = train(bench, path, workdir)
    good = code == 2 and "no such file" in output and again == 0 and resumed_from(told) is not None
    where = f"“{said(output).replace(str(book), 'book.txt')}”, code {code}; once it is back the run goes on"
    return Row("the data file vanishes between two starts", 1, where, good)


def _all(output: str) -> str:
    """An error of several lines, in one."""
    return " ".join(output[output.find("error:") :].split())[:300]


def _files(workdir: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != ".lock"}
