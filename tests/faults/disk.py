"""A disk that is full, or read-only, or goes away."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.base import (
    Bench,
    Row,
    committed,
    differences,
    fault,
    reached,
    resumed_from,
    said,
    tiny,
    train,
    undisturbed,
)
from transformer_jax.train import verify


@contextlib.contextmanager
def mounted(path: Path, size: str) -> Iterator[bool]:
    """A disk of its own at `path`; False where mounting is not permitted."""
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if not done.returncode:
            subprocess.run(["umount", "-l", str(path)], check=True)


@fault("disk")
def disk(bench: Bench) -> Iterator[Row]:
    config = tiny(train__steps=60, train__eval_every=20, run__keep_checkpoints=20)
    path, expected, _ = undisturbed(bench, "disk", config)
    size = sum(file.stat().st_size for file in (bench.directory / "undisturbed/disk/run").rglob("*") if file.is_file())
    place = bench.fresh("disk") / "disk"
    for share in (0.9, 0.7, 0.5, 0.3)[: bench.times(4, 1)]:
        with mounted(place, f"{int(share * size) // 1024}k") as can:
            if not can:
                yield Row("disk full", 0, "mounting is not permitted here", True)
                return
            yield _full(bench, config, path, expected, place, f"a disk of {share:.0%} of what the run writes")
    with mounted(place, "50m"):
        yield _filled_by_another(bench, config, path, expected, place)
    with mounted(place, "50m"):
        yield _read_only(bench, config, path, expected, place)
    yield _directory_gone(bench, path)


def _full(bench: Bench, config, path: Path, expected: dict, place: Path, what: str) -> Row:
    code, output = train(bench, path, place / "run")
    return _then_with_room(bench, config, path, expected, place / "run", what, code, output)


def _then_with_room(bench, config, path, expected, workdir, what, code, output) -> Row:
    """What is left verifies, and on a disk with room the run goes on from the newest of it."""
    line, directory = said(output), workdir / "checkpoints"
    steps = verify.steps(directory)
    whole = all(verify.fault(directory, step) is None for step in steps)
    torn = [each for each in workdir.glob("*.json") if not _json(each)]
    moved = bench.fresh("moved") / "run"
    shutil.copytree(workdir, moved)
    newest = committed(moved)
    again, told = train(bench, path, moved)
    good = code == 2 and "No space left on device" in line and whole and not torn and again == 0
    good = good and resumed_from(told) == newest and not differences(expected, reached(config, moved))
    text = line.replace(str(workdir), "DIR")
    outcome = f"code {code}: “{text}”; all {len(steps)} verify; on a disk with room it went on from step {newest}"
    return Row(what, 1, f"{outcome}, to the same end" if good else f"{outcome} NOT GOOD {told[-300:]}", good)


def _filled_by_another(bench: Bench, config, path: Path, expected: dict, place: Path) -> Row:
    """Somebody else takes the rest of the disk while the run is in its middle."""
    done: list[tuple] = []
    thread = threading.Thread(target=lambda: done.append(train(bench, path, place / "run")))
    thread.start()
    deadline = time.monotonic() + 120
    while (committed(place / "run") or 0) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(OSError), (place / "another").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    thread.join()
    (place / "another").unlink()
    return _then_with_room(
        bench, config, path, expected, place / "run", "the disk filled by somebody else in mid-run", *done[0]
    )


def _read_only(bench: Bench, config, path: Path, expected: dict, place: Path) -> Row:
    code, output = train(bench, path, place / "run", at="SIGTERM:step=5")
    assert code == 75, output
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    began = time.monotonic()
    code, output = train(bench, path, place / "run")
    seconds = time.monotonic() - began
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
    again, told = train(bench, path, place / "run")
    good = code == 2 and "Read-only file system" in said(output) and "step " not in output and again == 0
    good = good and not differences(expected, reached(config, place / "run"))
    text = said(output).replace(str(place / "run"), "DIR")
    outcome = (
        f"code {code} before anything was compiled ({seconds:.0f} s): “{text}”; writable again, it went on to the "
    )
    return Row("a directory that has become read-only", 1, outcome + ("same end" if good else f"NOT GOOD {told}"), good)


def _directory_gone(bench: Bench, path: Path) -> Row:
    """Somebody removes the run's directory while it trains."""
    workdir = bench.fresh("gone") / "run"
    done: list[tuple] = []
    thread = threading.Thread(target=lambda: done.append(train(bench, path, workdir)))
    thread.start()
    deadline = time.monotonic() + 120
    while (committed(workdir) or 0) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.rename(workdir, workdir.with_name("moved"))
    thread.join()
    code, output = done[0]
    whole = all(
        verify.fault(workdir.with_name("moved") / "checkpoints", step) is None
        for step in verify.steps(workdir.with_name("moved") / "checkpoints")
    )
    text = said(output).replace(str(workdir), "DIR")
    return Row("the run's directory is moved away while it trains", 1, f"code {code}: “{text}”", code == 2 and whole)


def _json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True
