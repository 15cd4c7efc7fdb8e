"""What every fault is tried on: a run of seconds, started as a user starts it, and held against an undisturbed one."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from transformer_jax import config as config_lib
from transformer_jax.train import loop, verify
from transformer_jax.train.checkpoint import Checkpoints

ROOT = Path(__file__).parents[2]
CORPUS = "copy(train=(1, 4), test=(5, 6), examples=300, held_out=30)"
_VOCAB = 259  # of the byte tokenizer and its specials
_CONFIG = """import json
from transformer_jax import config


def get_config(mode):
    return config.from_dict(json.loads({text!r}))
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
      fault: what was done.
      times: how often.
      outcome: what happened, in words.
      good: whether nothing was lost and nothing untrue was said.
      seconds: that it took.
    """

    fault: str
    times: int
    outcome: str
    good: bool
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where faults are tried.

    Attributes:
      directory: of everything that is written.
      seed: of what is drawn at random.
      quick: a few tries instead of the full number, for the test suite.
    """

    directory: Path
    seed: int = 0
    quick: bool = False

    def times(self, full: int, quick: int = 2) -> int:
        return quick if self.quick else full

    def fresh(self, name: str) -> Path:
        """An empty directory of a fault's own."""
        path = self.directory / name
        subprocess.run(["rm", "-rf", str(path)], check=True)
        path.mkdir(parents=True)
        return path


Fault = Callable[[Bench], Iterator[Row]]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    """Registers a function that tries faults of one kind and gives their rows."""

    def add(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return add


def tiny(**changes):
    """A config that trains in seconds and saves often; `section__key=value` changes a key."""
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view, config.data.length = CORPUS, "prompt_answer", 32
    config.model.layers, config.model.heads, config.model.width, config.model.ffn_size = 1, 2, 16, 32
    config.model.dropout = 0.1
    config.train.steps, config.train.eval_every, config.train.eval_batches = 200, 50, 1
    config.run.log_every = config.run.checkpoint_every = 10
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def write_config(config, path: Path) -> Path:
    path.write_text(_CONFIG.format(text=json.dumps(config_lib.to_dict(config))))
    return path


def environment(bench: Bench) -> dict[str, str]:
    """Of processes: one device, and compiled programs kept between starts."""
    own = {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(bench.directory.absolute() / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return os.environ | own


@contextlib.contextmanager
def devices(count: int) -> Iterator[None]:
    """Processes that are started meanwhile see so many."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    try:
        yield
    finally:
        os.environ.pop("XLA_FLAGS")
        if before is not None:
            os.environ["XLA_FLAGS"] = before


def command(config: Path, workdir: Path, *more: str, at: str = "") -> list[str]:
    """`train` as a user types it; with `at`, in a process that does something to itself there (`at.py`)."""
    module = ["tests.faults.at", at] if at else ["transformer_jax"]
    return [sys.executable, "-m", *module, "train", f"--config={config}", f"--workdir={workdir}", *more]


def train(bench: Bench, config: Path, workdir: Path, *more: str, at: str = "", limit: float = 300.0):
    """Runs the command to its end: (exit code, what it printed). A hang is a fault of its own: code None."""
    try:
        done = subprocess.run(
            command(config, workdir, *more, at=at),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            env=environment(bench),
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout


def said(output: str, about: str = "") -> str:
    """The line of output that says why it ended: the last one that is an error or an interruption."""
    lines = [line for line in output.splitlines() if line.startswith(("error:", "interrupted:")) and about in line]
    return lines[-1] if lines else ""


def resumed_from(output: str) -> int | None:
    """The step that a process has gone on from; None if it did not come so far, or began anew."""
    found = re.findall(r"goes on from step (\d+)", output)
    return int(found[-1]) if found else None


def committed(workdir: Path) -> int | None:
    """The newest step with files and a manifest."""
    directory = workdir / "checkpoints"
    steps = [step for step in verify.steps(directory) if verify.manifest_of(directory, step).is_file()]
    return next(iter(steps), None)


def reached(config, workdir: Path) -> dict:
    """Everything that a run has come to that must not depend on interruptions."""
    program = loop.compiled_program(config, _VOCAB, loop.make_mesh(config.mesh, jax.devices()[:1]))
    state, rest = Checkpoints(workdir / "checkpoints", 5).restore(program.state_structs)
    result = json.loads((workdir / "result.json").read_text())
    own = {"state": jax.tree.map(np.asarray, state), "rows": rows(workdir)}
    own |= {f"result {key}": result[key] for key in ("status", "step", "counted", "skipped", "spikes", "rewinds")}
    own |= {f"saved {key}": rest[key] for key in ("data", "drawn", "counted", "patience", "watch")}
    return own | {"metrics": result["metrics"]}


def differences(one: dict, other: dict) -> list[str]:
    """In what two of `reached` differ by a bit or more."""
    found = []
    for key in one.keys() | other.keys():
        (a, tree), (b, other_tree) = (jax.tree.flatten(each.get(key)) for each in (one, other))
        if tree != other_tree or not all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)):
            found.append(key)
    return sorted(found)


def rows(workdir: Path) -> dict[str, float]:
    """What metrics.jsonl says of each step, of a step logged twice the later one, without what clocks have measured."""
    found = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        for key, value in row.items():
            if key not in ("step", "seconds", "train/tokens_per_second", "train/waiting_for_data"):
                found[f"{row['step']} {key}"] = value
    return dict(sorted(found.items()))


def undisturbed(bench: Bench, name: str, config) -> tuple[Path, dict, float]:
    """(the config's file, what its run comes to if nothing happens, the seconds that a second one takes)."""
    place = bench.fresh(f"undisturbed/{name}")
    path = write_config(config, place / "config.py")
    began = time.monotonic()
    code, output = train(bench, path, place / "run")
    assert code == 0, output
    expected, seconds = reached(config, place / "run"), time.monotonic() - began
    if bench.quick:
        return path, expected, seconds
    began = time.monotonic()
    train(bench, path, place / "again")  # with what the first has compiled
    seconds = time.monotonic() - began
    assert not differences(expected, reached(config, place / "again")), "two undisturbed runs are not equal"
    return path, expected, seconds


def timed(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows with the seconds that each has taken."""
    while True:
        began = time.monotonic()
        row = next(rows, None)
        if row is None:
            return
        yield dataclasses.replace(row, seconds=time.monotonic() - began)
