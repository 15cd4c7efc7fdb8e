"""`python -m tests.fuzz.run --cases=1000 --seed=0`: random configs, each refused by name or planned and trained a step.

Cases are checked in processes of their own, so that a crash or a hang is told and costs one case. With --out the
answers are kept, and the same command goes on where it was stopped. The exit code is 1 if any case failed.
"""

import argparse
import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.strategies import cases

_ROOT = Path(__file__).parents[2]
_BATCH = 60  # cases of one process
_TOLD = 20  # cases between lines of progress
_TICK = os.sysconf("SC_CLK_TCK")
_DRAWING = settings(
    max_examples=3, database=None, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
_BAD = ("BROKEN", "CRASHED", "HUNG", "DIED")


def drawn(count: int, number: int) -> list[dict]:
    """The cases of a seed. Each has its own: the examples of one search of Hypothesis are much alike."""
    return [_one(number * 1_000_003 + i) for i in range(count)]


def _one(number: int) -> dict:
    found = []

    @seed(number)
    @settings(_DRAWING)
    @given(cases())
    def collect(case):
        found.append(case)

    collect()
    return found[-1]  # the first one is the simplest there is


class Worker:
    """A process that checks cases."""

    def __init__(self, told):
        read, write = os.pipe()
        flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", str(write)],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=told,
            pass_fds=[write],
            cwd=_ROOT,
            text=True,
            env=os.environ
            | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
            | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(_ROOT), "TRANSFORMER_JAX_CHECK_SHAPES": "1"},
        )
        os.close(write)
        self._answers = os.fdopen(read)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._answers, selectors.EVENT_READ)

    def check(self, case: dict, seconds: float) -> dict:
        """The answer, or what became of the process in place of one.

        Args:
          seconds: of computing that one case may take; ten times as much by the clock.
        """
        started, begun = time.monotonic(), self._computed()
        try:
            self._process.stdin.write(json.dumps(case) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._dead()
        while not self._ready.select(timeout=1.0):
            if self._computed() - begun > seconds or time.monotonic() - started > 10 * seconds:
                spent = self._computed() - begun
                self.stop()
                return {"outcome": "HUNG", "details": f"after {spent:.0f} s of computing", "seconds": spent}
        line = self._answers.readline()
        return json.loads(line) if line else self._dead()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._answers.close()
        self._ready.close()

    def _dead(self) -> dict:
        code = self._process.wait()
        return {"outcome": "DIED", "details": f"exit code {code}", "seconds": 0.0}

    def _computed(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICK


def run(every: list[dict], out: Path, seconds: float, processes: int = 1) -> list[dict]:
    """Answers for cases, those in `out` taken from there."""
    known = {}
    if out.is_file():
        known = {told["case"]: told for told in map(json.loads, out.read_text().splitlines())}
    before, began = len(known), time.monotonic()
    keys = [json.dumps(case, sort_keys=True) for case in every]
    left = [(key, case) for key, case in zip(keys, every, strict=True) if key not in known]
    batches = [left[i : i + _BATCH] for i in range(0, len(left), _BATCH)]
    with out.open("a") as file, out.with_suffix(".log").open("a") as told:

        def work(batch):
            for key, answer in _batch(batch, seconds, told):
                known[key] = {"case": key, **answer}
                print(json.dumps(known[key]), file=file, flush=True)
                if answer["outcome"].startswith(_BAD) or len(known) % _TOLD == 0:
                    ahead = (time.monotonic() - began) / (len(known) - before) * (len(keys) - len(known))
                    print(f"{len(known)} of {len(keys)}, {ahead:.0f} s left: {answer['outcome']}", flush=True)

        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(work, batches))
    return [known[key] for key in keys]


def _batch(batch: list, seconds: float, told):
    worker = Worker(told)
    try:
        for key, case in batch:
            answer = worker.check(case, seconds)
            if answer["outcome"] in ("HUNG", "DIED"):
                worker.stop()
                worker = Worker(told)
            yield key, answer
    finally:
        worker.stop()


def summary(answers: list[dict]) -> str:
    """Two tables, and the cases that failed."""
    outcomes = Counter(each["outcome"] for each in answers)
    lines = [f"{'outcome':32}{'cases':>8}"] + [f"{name:32}{n:8}" for name, n in outcomes.most_common()]
    fields = Counter(each["details"] for each in answers if each["outcome"].startswith("refused"))
    lines += ["", f"{'refused, and named':32}{'cases':>8}"] + [f"{name:32}{n:8}" for name, n in fields.most_common()]
    lines += ["", f"{sum(each['seconds'] for each in answers):.0f} s of computing"]
    for each in answers:
        if each["outcome"].startswith(_BAD):
            lines += ["", f"{each['outcome']}: {each['case']}", each["details"]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=90.0, help="of computing, for one case (90)")
    parser.add_argument("--count", action="store_true", help="plans only: no step is taken")
    parser.add_argument("--out", type=Path, help="default: runs/fuzz-SEED-CASES.jsonl")
    args = parser.parse_args()
    out = args.out or Path("runs") / f"fuzz-{args.seed}-{args.cases}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    every = [case | ({"counted": True} if args.count else {}) for case in drawn(args.cases, args.seed)]
    answers = run(every, out, args.seconds, args.processes)
    print(summary(answers))
    return int(any(each["outcome"].startswith(_BAD) for each in answers))


if __name__ == "__main__":
    sys.exit(main())
