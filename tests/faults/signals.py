"""SIGTERM and SIGINT in every place: a checkpoint, or a clear line why there is none, and the code that requeues."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.base import (
    ROOT,
    Bench,
    Row,
    command,
    committed,
    differences,
    environment,
    fault,
    reached,
    resumed_from,
    said,
    tiny,
    train,
    undisturbed,
)

_CODES = {"SIGTERM": 75, "SIGINT": 130}
# Place, and whether there must be a checkpoint after it.
_PLACES = [
    ("data", False),
    ("compile", False),
    ("step=5", True),
    ("eval=2", True),
    ("save=2", True),
    ("commit=2", True),
]
_PLACES += [("prune=2", True), ("result", True)]


@fault("signals")
def signals(bench: Bench) -> Iterator[Row]:
    config = tiny(train__steps=60, train__eval_every=20)
    path, expected, _ = undisturbed(bench, "signals", config)
    for place, saves in _PLACES[: bench.times(8, 3)]:
        yield _once(bench, config, path, expected, "SIGTERM", place, saves)
    for place, saves in _PLACES[2 : bench.times(5, 3)]:
        yield _once(bench, config, path, expected, "SIGINT", place, saves)
    yield _importing(bench, path)


def _once(bench: Bench, config, path: Path, expected: dict, name: str, place: str, saves: bool) -> Row:
    workdir = bench.fresh("signals") / "run"
    code, output = train(bench, path, workdir, at=f"{name}:{place}")
    line, step = said(output), committed(workdir)
    ended, second = (0, output) if code == 0 else train(bench, path, workdir)
    at, done = resumed_from(second), code == 0 and (workdir / "result.json").is_file()
    equal = ended == 0 and not differences(expected, reached(config, workdir))
    good = equal and (done or (code == _CODES[name] and bool(line) and (step is not None or not saves)))
    good &= done or not saves or at == step
    what = f"code {code}: “{_short(line)}”" if not done else "it was at its end, and ended with code 0"
    then = "" if done else f"; started again, it went on from {f'step {at}' if at is not None else 'the beginning'}"
    return Row(f"{name} in {place}", 1, f"{what}{then}, to the same end" if equal else f"{what}: NOT EQUAL", good)


def _importing(bench: Bench, path: Path) -> Row:
    """A signal in the first second."""
    workdir = bench.fresh("signals") / "run"
    process = subprocess.Popen(
        command(path, workdir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(bench),
        cwd=ROOT,
    )
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    line = said(output)
    good = process.returncode in (75, -signal.SIGTERM) and not workdir.exists()
    return Row("SIGTERM after 1 s, in imports", 1, f"code {process.returncode}: “{_short(line)}”", good)


def _short(line: str) -> str:
    return line if len(line) < 160 else line[:159] + "…"
