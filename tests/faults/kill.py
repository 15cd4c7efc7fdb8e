"""kill -9 at random moments."""

import signal
import subprocess
import time
from collections.abc import Iterator

import numpy as np

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
    tiny,
    undisturbed,
)


@fault("kill")
def kill(bench: Bench) -> Iterator[Row]:
    """A run is killed again and again until it has come to its end, then the next one is."""
    config = tiny()
    path, expected, whole = undisturbed(bench, "kill", config)
    rng, wanted = np.random.default_rng(bench.seed), bench.times(100, 2)
    kills = ends = lost = wrong = unfinished = 0
    while kills < wanted or not ends:
        workdir = bench.fresh("kill") / f"run{ends}"
        more = wanted - kills
        killed, left, half = until_it_ends(bench, path, workdir, rng, whole, more)
        kills, lost, unfinished, ends = kills + killed, lost + left, unfinished + half, ends + 1
        different = differences(expected, reached(config, workdir))
        wrong += bool(different)
        print(f"kill: {kills} kills, {ends} runs ended, {lost} steps lost, {wrong} wrong {different}", flush=True)
    yield Row(
        f"kill -9 at a random moment of a run of {config.train.steps} steps that saves every "
        f"{config.run.checkpoint_every}",
        kills,
        f"{lost} steps lost beyond the last committed checkpoint, {wrong} wrong restores: {ends} runs came to their "
        f"end bit-equal to the undisturbed one ({unfinished} kills fell into a save)",
        not lost and not wrong,
    )


def until_it_ends(bench: Bench, path, workdir, rng, whole: float, most: int, at: str = "") -> tuple[int, int, int]:
    """(kills, steps lost, kills that left a save unfinished) of one run."""
    kills = lost = half = 0
    while True:
        before, log = committed(workdir), workdir.with_suffix(".log")
        ended = (workdir / "result.json").is_file()  # killed after its last word
        with log.open("w") as file:
            process = subprocess.Popen(
                command(path, workdir, at=at), stdout=file, stderr=subprocess.STDOUT, env=environment(bench), cwd=ROOT
            )
            if kills < most:
                _wait(process, log, rng, whole)
                process.kill()
            process.wait(300.0)
        told = log.read_text()
        came_to = resumed_from(told)
        if came_to is None and process.returncode == 0 and not ended:
            came_to = 0  # it has begun anew
        lost += abs((before or 0) - came_to) if came_to is not None else 0
        lost += max((before or 0) - (committed(workdir) or 0), 0)
        if process.returncode == 0:
            return kills, lost, half
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"it ended by itself with {process.returncode}: {told}")
        kills += 1
        half += any(workdir.glob("checkpoints/*.saving*"))


def _wait(process: subprocess.Popen, log, rng, whole: float) -> None:
    """Until a random moment, or the end of the process.

    Most of a short run is spent on imports, where little can go wrong: four of five kills come once it has begun.
    """
    began = time.monotonic()
    deadline = began + (rng.uniform(0.0, whole) if rng.random() < 0.2 else 300.0)
    seen = None
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
        if seen is None and log.stat().st_size:  # it has begun, or gone on
            seen = time.monotonic()
            deadline = min(deadline, seen + rng.uniform(0.0, 0.5 * max(whole - (seen - began), 1.0)))
