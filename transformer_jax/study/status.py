"""`status`: how far a study is, read from its directory alone, whoever trains it wherever."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.study import locks, units
from transformer_jax.study.store import DIVERGED, DONE, FAILED, Run, Store
from transformer_jax.study.units import Plan, Unit
from transformer_jax.study.work import duration

DONE_, RUNNING, FAILED_, WAITING = "done", "running", "failed", "waiting"
_TAIL = 16384  # bytes at the end of metrics.jsonl that hold its last row


@dataclass(frozen=True)
class RunStatus:
    """One run.

    Attributes:
      label, seed: which trial.
      directory: of the run.
      unit: what it trains with.
      state: 'done', 'running', 'failed' or 'waiting'; a run that was interrupted is waiting.
      diverged: whether it is done because it diverged.
      step, steps: how far it is; `steps` is where it ends at the latest.
      seconds_left: of training, for one that is running and has told its speed; else None.
      problem: why it failed, in a line; else empty.
    """

    label: str
    seed: int
    directory: str
    unit: str
    state: str
    diverged: bool
    step: int
    steps: int
    seconds_left: float | None
    problem: str


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
      directory, name, command: of the study; the command goes on with it.
      tuning: whether its tuning is all that is planned so far.
      runs: in declared order; those of the tuning first.
      seconds_left: until all is done, if as many units run at once as now; None if nothing runs, or no speed is known.
      launches: when, where and how it was started, oldest first.
    """

    directory: str
    name: str
    command: str
    tuning: bool
    runs: tuple[RunStatus, ...]
    seconds_left: float | None
    launches: tuple[dict, ...]

    def count(self, state: str) -> int:
        return sum(run.state == state for run in self.runs)

    def as_json(self) -> dict:
        """For `--json`."""
        return dataclasses.asdict(self) | {
            "counts": {state: self.count(state) for state in (DONE_, RUNNING, FAILED_, WAITING)}
        }

    def __str__(self) -> str:
        diverged = sum(run.diverged for run in self.runs)
        text = f"{self.name}{', tuning' if self.tuning else ''}: {len(self.runs)} runs: {self.count(DONE_)} done"
        text += f" ({diverged} diverged)" if diverged else ""
        text += f", {self.count(RUNNING)} running, {self.count(FAILED_)} failed, {self.count(WAITING)} waiting"
        if self.seconds_left is not None:
            text += f"; about {duration(self.seconds_left)} left"
        lines = [text]
        for run in self.runs:
            if run.state == RUNNING:
                left = "" if run.seconds_left is None else f", {duration(run.seconds_left)} left"
                lines.append(f"  running  {run.label}, seed {run.seed}: step {run.step}/{run.steps}{left} ({run.unit})")
        for run in self.runs:
            if run.state == FAILED_:
                lines.append(f"  failed   {run.label}, seed {run.seed}: {run.problem}\n           {run.directory}")
        if self.launches:
            last = self.launches[-1]
            note = last.get("note") or f"on {last.get('host')}, process {last.get('pid')}"
            lines.append(f"  last started {last['when']} with --launcher={last.get('launcher')}: {note}")
        if not self.count(RUNNING) and self.count(FAILED_) + self.count(WAITING):
            lines.append(f"nothing is running now; this goes on with what is not done: {self.command or 'study run'}")
        return "\n".join(lines)


def status(directory: Path | str) -> Status:
    """How far the study in `directory` is. Writes nothing.

    Raises:
      UserError: if there is none.
    """
    store = Store(directory)
    declared = store.declaration()
    plan = units.read_plan(store.directory) or Plan(declared["base"])
    order = {each["directory"]: i for i, each in enumerate(declared["trials"])}
    found, timed = [], []
    for unit in plan.units:
        held = locks.is_held(units.lock_of(store.directory, unit))
        runs = [_run(store, plan, unit, i, held) for i in range(len(unit.slots))]
        found += runs
        timed.append((held, unit, runs))
    planned = {Path(run.directory).name for run in found}
    for each in declared["trials"]:  # of a format without a plan, or declared this very moment
        if each["directory"] not in planned:
            found.append(_unplanned(store.run(**each), declared))
    found.sort(key=lambda run: order.get(Path(run.directory).name, -1))
    return Status(
        directory=str(store.directory),
        name=declared["name"],
        command=declared["command"],
        tuning=bool(declared["tuning"]) and not declared["trials"],
        runs=tuple(found),
        seconds_left=_left(store, timed),
        launches=tuple(store.launches()),
    )


def _run(store: Store, plan: Plan, unit: Unit, index: int, held: bool) -> RunStatus:
    slot = unit.slots[index]
    run = store.run_of(slot)
    steps = plan.steps(slot)
    state, step, left = WAITING, 0, None
    if run.status in DONE:
        state, step = DONE_, run.result.get("step", steps)
    elif run.status == FAILED and not held:
        state = FAILED_
    else:
        step, seconds = _last_row(run.directory / "metrics.jsonl")
        together = _round_at_work(store, unit, index) if held else 0
        if together:  # `seconds` is the run's own share of theirs
            state = RUNNING
            left = seconds * together / step * (steps - step) if step and seconds else None
    problem = run.problem if state == FAILED_ else ""
    diverged = run.status == DIVERGED
    return RunStatus(slot.label, slot.seed, str(run.directory), unit.name, state, diverged, step, steps, left, problem)


def _unplanned(run: Run, declared: dict) -> RunStatus:
    changed = next(each["changed"] for each in declared["variants"] if each["label"] == run.label)
    steps = changed.get("train.steps", declared["base"]["train"]["steps"])
    state = DONE_ if run.status in DONE else FAILED_ if run.status == FAILED else WAITING
    step = run.result.get("step", 0) or _last_row(run.directory / "metrics.jsonl")[0]
    problem = run.problem if state == FAILED_ else ""
    diverged = run.status == DIVERGED
    return RunStatus(run.label, run.seed, str(run.directory), "", state, diverged, step, steps, None, problem)


def _round_at_work(store: Store, unit: Unit, index: int) -> int:
    """How many runs train in the round at work, if the run is one of them; else 0.

    Rounds train one after the other: the first that is not over is at work.
    """
    for chosen in units.read_progress(store.directory, unit).rounds or [list(range(len(unit.slots)))]:
        runs = [store.run_of(unit.slots[i]) for i in chosen]
        if any(run.status not in DONE and run.status != FAILED for run in runs):
            return len(chosen) if index in chosen else 0
    return 0


def _last_row(path: Path) -> tuple[int, float]:
    """The last step in metrics.jsonl, and the seconds of training up to it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0, 0.0
    for line in reversed(lines):
        try:
            row = json.loads(line)
            return int(row["step"]), float(row.get("seconds") or 0.0)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # torn, or cut by where we began to read
    return 0, 0.0


def _left(store: Store, timed: list[tuple[bool, Unit, list[RunStatus]]]) -> float | None:
    """Seconds: what runs now, and what waits at the speed of what is done or, failing that, of what runs."""
    working = [[run for run in runs if run.state in (RUNNING, WAITING)] for held, _, runs in timed if held]
    working = [runs for runs in working if runs]
    if not working:
        return None
    a_run = _seconds_a_run(store, timed)
    total = 0.0
    for runs in working:
        known = [run.seconds_left for run in runs if run.seconds_left is not None]
        later = sum(run.state == WAITING for run in runs) * (a_run or 0.0)
        if not known and a_run is None:
            return None
        total += (max(known) if known else a_run * len(runs)) + later
    waiting = sum(run.state == WAITING for held, _, runs in timed if not held for run in runs)
    if waiting and a_run is None:
        return None
    return (total + waiting * (a_run or 0.0)) / len(working)


def _seconds_a_run(store: Store, timed: list[tuple[bool, Unit, list[RunStatus]]]) -> float | None:
    """Wall-clock time of a unit, by the number of its runs."""
    seconds, runs = 0.0, 0
    for _, unit, statuses in timed:
        if all(run.state == DONE_ for run in statuses):
            seconds += units.read_progress(store.directory, unit).seconds
            runs += len(statuses)
    if runs and seconds:
        return seconds / runs
    for _, _, statuses in timed:
        going = [run for run in statuses if run.seconds_left is not None]
        if going:
            return max(run.seconds_left * run.steps / max(run.steps - run.step, 1) for run in going) / len(going)
    return None
