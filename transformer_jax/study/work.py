"""`work`: trains the units of a planned study that nobody else trains, until none is left.

Any number of processes may work on one study, on any machines that share its directory. Whoever holds a unit's lock
trains it; what is done is read again once the lock is there.
"""

import contextlib
import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

from ml_collections import ConfigDict

from transformer_jax.errors import UserError
from transformer_jax.study import locks, units
from transformer_jax.study.store import DIVERGED, DONE, FAILED, FINISHED, Run, Store
from transformer_jax.study.units import Slot, Unit

Trainer = Callable[[list[ConfigDict], list[Path]], object]
Rounds = Callable[[list[ConfigDict]], list[list[int]]]


def work_on(
    directory: Path | str, *, trainer: Trainer | None = None, tell: Callable[[str], None] | None = None
) -> list[Run]:
    """What a worker process does: `work`, for a study directory; gives the runs that it saw fail.

    Raises:
      UserError: if the directory holds no planned study, or its runs lack a metric that it declares.
      KeyboardInterrupt: after SIGINT or SIGTERM; what was trained has been saved.
    """
    return work(Store(directory), trainer, tell or _say)


def work(store: Store, trainer: Trainer | None, tell: Callable[[str], None]) -> list[Run]:
    """Trains every unit that is open and free; gives the runs that failed. One that raises stops no other.

    Args:
      trainer: trains the runs of a round and writes their files; skips runs that are done, resumes those that were
        begun. `transformer_jax.train.population.train_unit` if None, in rounds that fit the device's memory;
        another one trains a unit in one round, unless it has a method `rounds`.
      tell: gets a line of progress.
    """
    failed, tried = [], set()
    clock = _Clock(store)
    with _terminable(), _environment(trainer) as (train, rounds):
        while True:
            with _free_unit(store, tried) as unit:
                if unit is None:
                    return failed
                tried.add(unit.name)
                failed += _train(store, unit, train, rounds, clock, tell)


@contextlib.contextmanager
def _free_unit(store: Store, tried: set[str]) -> Iterator[Unit | None]:
    """Holds the first unit that is open, not in `tried` and held by nobody else, if there is one."""
    # What is busy at the first look may only have been looked at, as `study status` does.
    for patience in (0.0, 0.5):
        for unit in store.plan().units:  # read each time: another launcher may have added some
            if unit.name in tried or not store.is_open(unit):
                continue
            with locks.held(units.lock_of(store.directory, unit), patience) as mine:
                if not mine:
                    continue
                store.refresh(unit)
                if store.is_open(unit):  # as it stands under the lock
                    yield unit
                    return
    yield None


def check_measured(declared: dict, runs: Sequence[Run]) -> None:
    """A metric that is not measured stops the study, as every run would lack it; so does a baseline without one.

    Raises:
      UserError: naming the metric.
    """
    for metric in [declared["metric"], *(each["metric"] for each in declared["also"])]:
        for run in runs:
            reason = run.not_applicable(metric)
            if reason and run.label == declared["baseline"]:
                raise UserError(
                    f"goal.metric={metric!r} does not apply to the baseline {run.label!r} ({reason}): there is "
                    "nothing to compare with; give another baseline or metric"
                )


def describe(slots: Sequence[Slot]) -> str:
    """`baseline, seeds 0, 1, 2; rope, seed 0`."""
    seeds: dict[str, list[str]] = {}
    for slot in slots:
        seeds.setdefault(slot.label, []).append(str(slot.seed))
    return "; ".join(f"{label}, seed{'s' * (len(of) > 1)} {', '.join(of)}" for label, of in seeds.items())


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _train(store: Store, unit: Unit, train: Trainer, rounds: Rounds, clock: "_Clock", tell) -> list[Run]:
    """Trains a unit whose lock is held, and says how its runs went."""
    declared, plan = store.declaration(), store.plan()
    todo = [slot for slot in unit.slots if store.run_of(slot).status not in DONE]
    number = _numbers(declared, plan.slots)
    if len(unit.slots) == 1:
        tell(f"[{number[todo[0].directory]}] {describe(todo)}: running")
    else:
        done = f" ({len(unit.slots) - len(todo)} done before)" if len(todo) < len(unit.slots) else ""
        tell(f"{unit.name}: {len(unit.slots)} runs train together{done}: {describe(unit.slots)}")
    started = monotonic()
    progress = units.read_progress(store.directory, unit)
    before = progress.seconds
    try:
        configs = [plan.config(slot) for slot in unit.slots]
        for chosen in _rounds(store, unit, progress, configs, rounds):
            _train_round(store, [unit.slots[i] for i in chosen], [configs[i] for i in chosen], train)
    except Exception:  # raised before a round: by the configs, or while it was found out how many fit
        _record_error(store, unit.slots)
    finally:
        progress.seconds = before + monotonic() - started
        units.write_progress(store.directory, unit, progress)
    took = monotonic() - started
    clock.add(len(todo), took)
    runs = [store.run_of(slot) for slot in todo]
    trials = {each["directory"] for each in declared["trials"]}
    check_measured(declared, [run for run in runs if run.directory.name in trials])
    for i, run in enumerate(runs):
        end = f" ({took:.0f} s; {duration(clock.left(unit))} left)" if i == len(runs) - 1 else ""
        tell(f"[{number[run.directory.name]}] {run.label}, seed {run.seed}: {_outcome(run, declared)}{end}")
    return [run for run in runs if run.status == FAILED]


def _rounds(store: Store, unit: Unit, progress: units.Progress, configs: list, rounds: Rounds) -> list[list[int]]:
    """The unit's rounds, put down before the first one: a resumed run must have the same company."""
    runs = [store.run_of(slot) for slot in unit.slots]
    begun = any(run.status in DONE or any(run.directory.glob("checkpoints/*")) for run in runs)
    if progress.rounds is None or not begun:
        progress.rounds = [list(map(int, chosen)) for chosen in rounds(configs)] if len(configs) > 1 else [[0]]
        units.write_progress(store.directory, unit, progress)
    return progress.rounds


def _train_round(store: Store, slots: list[Slot], configs: list[ConfigDict], train: Trainer) -> None:
    """Trains or resumes runs together; what that raises goes to error.txt of each that is not done."""
    if not _not_done(store, slots):
        return
    paths = [store.run_of(slot).directory for slot in slots]
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
        (path / "error.txt").unlink(missing_ok=True)
    for slot in _not_done(store, slots):
        unusable = store.run_of(slot).directory / "result.json"
        if unusable.exists():  # torn, or of no known status
            unusable.replace(unusable.with_name("result.json.unusable"))
    try:
        train(configs, paths)
        without = _not_done(store, slots)
        if without:
            raise RuntimeError(
                "the trainer returned without a result.json that says finished or diverged of " + describe(without)
            )
    except Exception:  # one bad program must not cost the others; it is counted and shown
        _record_error(store, slots)


def _not_done(store: Store, slots: Sequence[Slot]) -> list[Slot]:
    return [slot for slot in slots if store.run_of(slot).status not in DONE]


def _record_error(store: Store, slots: Sequence[Slot]) -> None:
    for slot in _not_done(store, slots):
        path = store.run_of(slot).directory / "error.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())


def _numbers(declared: dict, slots: list[Slot]) -> dict[str, str]:
    """Directory -> '3/24', by the declared order; runs that tune are counted among themselves."""
    trials = [each["directory"] for each in declared["trials"]]
    tuning = [slot.directory for slot in slots if slot.directory not in set(trials)]
    return {name: f"{i}/{len(of)}" for of in (trials, tuning) for i, name in enumerate(of, start=1)}


def _outcome(run: Run, declared: dict) -> str:
    """What to say of a run."""
    metric = declared["metric"]
    if run.status == FINISHED:
        measured = run.result.get("metrics", {})
        if metric not in measured:  # it tunes, on another split
            metric = "valid/" + metric.partition("/")[2]
        if metric not in measured:
            return FINISHED
        reason, value = run.not_applicable(metric), run.value(metric)
        if reason:
            return f"{metric} not applicable: {reason}"
        return f"{metric} {math.nan if value is None else value:.4f}"
    return run.status if run.status == DIVERGED else f"FAILED: {run.problem}"


class _Clock:
    """Extrapolates from the units that this process has trained."""

    def __init__(self, store: Store):
        self._store, self._runs, self._seconds = store, 0, 0.0

    def add(self, runs: int, seconds: float) -> None:
        self._runs += runs
        self._seconds += seconds

    def left(self, mine: Unit) -> float:
        """Seconds until all is done, if all workers are as fast as this one."""
        remaining, workers = 0, 1
        for unit in self._store.plan().units:
            if not self._store.is_open(unit):
                continue
            remaining += len(_not_done(self._store, unit.slots))
            workers += unit != mine and locks.is_held(units.lock_of(self._store.directory, unit))
        return self._seconds / max(self._runs, 1) * remaining / workers


@contextlib.contextmanager
def _environment(trainer: Trainer | None) -> Iterator[tuple[Trainer, Rounds]]:
    """The trainer, and how it splits units; its compiled programs are kept for other workers and later starts."""
    if trainer is not None:
        yield trainer, getattr(trainer, "rounds", lambda configs: [list(range(len(configs)))])
        return
    from transformer_jax import compilation
    from transformer_jax.evaluate.answers import score
    from transformer_jax.train.population import rounds, train_unit

    with compilation.kept():
        yield partial(train_unit, score=score), rounds


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM stops as SIGINT does, between units too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    print(line, flush=True)
