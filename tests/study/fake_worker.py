"""What the tests start instead of `study work DIR`: a worker whose trainer only takes its time."""

import json
import os
import sys
import time
from pathlib import Path

from study.study_fakes import FakeTrainer

from transformer_jax.study import Store
from transformer_jax.study.work import work_on


class SlowTrainer(FakeTrainer):
    """Notes in LOG what it begins and ends, and takes some time for each run."""

    def __init__(self, log: Path, seconds: float, broken: dict | None = None):
        super().__init__(broken=broken)
        self.log, self.seconds = log, seconds

    def train(self, trial, workdir):
        self.note("begin", trial)
        (workdir / "metrics.jsonl").write_text(json.dumps({"step": 50, "seconds": self.seconds / 4}) + "\n")
        time.sleep(self.seconds)
        super().train(trial, workdir)
        self.note("end", trial)

    def note(self, what, trial):
        with self.log.open("a") as file:
            file.write(f"{what} {trial.model.heads} {trial.seed} {os.getpid()} {len(os.sched_getaffinity(0))}\n")


def noted(log: Path, what: str) -> list[tuple[int, int]]:
    """(heads, seed) of each run that a SlowTrainer has begun or ended."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.is_file() else []
    return [(int(heads), int(seed)) for kind, heads, seed, *_ in lines if kind == what]


def processes(log: Path) -> dict[str, str]:
    """Process -> the number of its cores."""
    return {line.split()[3]: line.split()[4] for line in log.read_text().splitlines()}


def command(directory: Path, seconds: float = 0.05, *broken: str) -> list[str]:
    """Starts such a worker. `broken` are runs that raise, as 'heads,seed'."""
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {paths}; from study.fake_worker import main; main()"
    return [sys.executable, "-c", code, str(directory), str(seconds), *broken]


def main() -> None:
    directory, seconds, *bad = sys.argv[1:]
    trouble = {tuple(map(int, each.split(","))): RuntimeError("out of memory") for each in bad}
    store = Store(directory)
    try:
        failed = work_on(directory, trainer=SlowTrainer(store.directory / "calls.log", float(seconds), trouble))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)
