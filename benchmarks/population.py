"""Runs that train together against the same runs one after another: wall-clock time of whole processes.

Three ways to train the same configs with different seeds, each from a cold start, compilation included:

- together: `train_together`, as `study run` does it: one process, one compiled program;
- in turn: `train` for each in one process, where equal programs are compiled once;
- processes: a process for each, one after another, as a shell loop over `python -m transformer_jax train` does it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

WAYS = ("together", "in turn", "processes")


@dataclass(frozen=True)
class Timing:
    """Seconds of one way: of everything, of updates, of compiling train steps; real tokens per second of updates.

    The rest is starting Python, reading the corpus, initialising, evaluating and saving.
    """

    way: str
    wall: float
    updates: float
    compiling: float
    tokens_per_second: float
    memory_bytes: int
    losses: tuple[float, ...]

    @property
    def rest(self) -> float:
        return self.wall - self.updates - self.compiling


def measure(config: dict, runs: int, repeats: int, tell: Callable[[str], None]) -> list[Timing]:
    """Every way `repeats` times, in turns, so that a slow minute of the machine hits all of them."""
    found = []
    for repeat in range(repeats):
        ways = WAYS if repeat % 2 == 0 else WAYS[::-1]
        for way in ways:
            found.append(_measure(way, config, runs))
            tell(f"{way:10} {found[-1].wall:7.1f} s, updates {found[-1].updates:.1f} s")
    return found


def _measure(way: str, config: dict, runs: int) -> Timing:
    directory = Path(tempfile.mkdtemp())
    try:
        (directory / "config.json").write_text(json.dumps(config))
        groups = [[i] for i in range(runs)] if way == "processes" else [list(range(runs))]
        # Nothing may be left over from an earlier start.
        environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        started = time.perf_counter()
        for group in groups:
            call = [sys.executable, "-m", "benchmarks.population", way, str(directory), *map(str, group)]
            done = subprocess.run(call, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{way}: {done.stderr[-2000:]}")
        wall = time.perf_counter() - started
        results = [json.loads((directory / f"run{i}" / "result.json").read_text()) for i in range(runs)]
    finally:
        shutil.rmtree(directory)
    together = results[0]["members"] > 1
    speeds = [result["tokens_per_second"] for result in results]
    compiling = [result["compile_seconds"] for result in results]
    return Timing(
        way=way,
        wall=wall,
        updates=sum(result["seconds"] for result in results),
        # One program: each member tells of the same compilation; in one process the last one tells of all.
        compiling=sum(compiling) if way == "processes" else max(compiling),
        tokens_per_second=sum(speeds) if together else sum(speeds) / len(speeds),
        memory_bytes=results[0]["memory_bytes"] or 0,
        losses=tuple(result["metrics"]["valid/loss"] for result in results),
    )


def table(found: Sequence[Timing], title: str) -> str:
    """A Markdown table of medians (min to max), and the ratios of each repeat's walls."""
    from statistics import median

    by_way = {way: [timing for timing in found if timing.way == way] for way in WAYS}
    lines = [
        f"### {title}\n",
        "| way | wall | updates | compiling | the rest | tokens/s of updates | memory of the step |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, timings in by_way.items():
        walls = [timing.wall for timing in timings]
        shown = f"{median(walls):.1f} s ({min(walls):.1f} to {max(walls):.1f})"
        cells = [f"{median(getattr(t, part) for t in timings):.1f} s" for part in ("updates", "compiling", "rest")]
        speed = f"{median(t.tokens_per_second for t in timings):,.0f}"
        lines.append(f"| {way} | {shown} | {' | '.join(cells)} | {speed} | {timings[0].memory_bytes / 2**20:.0f} MiB |")
    together = by_way["together"]
    for way in WAYS[1:]:
        ratios = sorted(t.wall / own.wall for t, own in zip(by_way[way], together, strict=True))
        lines.append(
            f"\n{way} / together: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) in wall-clock time"
        )
    pairs = zip(together[0].losses, by_way["in turn"][0].losses, strict=True)
    worst = max(abs(a - b) for a, b in pairs)
    lines.append(f"\nLargest difference between a run's valid loss together and alone: {worst:.1e} nats.\n")
    return "\n".join(lines)


def main(way: str, directory: Path, numbers: Sequence[int]) -> None:
    """One process of `_measure`."""
    from transformer_jax import config as config_lib
    from transformer_jax.train import population
    from transformer_jax.train.loop import train

    configs = []
    for number in numbers:
        config = config_lib.from_dict(json.loads((directory / "config.json").read_text()))
        config.seed += number
        configs.append(config)
    workdirs = [directory / f"run{number}" for number in numbers]
    if way == "together":
        population.share_cores()
        population.train_unit(configs, workdirs)
        return
    for config, workdir in zip(configs, workdirs, strict=True):
        train(config, workdir)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(number) for number in sys.argv[3:]])
