"""`run_study`: all runs of a study, one after the other, the ones that are done left alone."""

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import monotonic

from ml_collections import ConfigDict

from transformer_jax.errors import UserError
from transformer_jax.study.store import DIVERGED, FAILED, FINISHED, Run, Store, read_run
from transformer_jax.study.study import Study
from transformer_jax.study.trials import Trial, trials

Trainer = Callable[[ConfigDict, Path], dict]
Validator = Callable[[ConfigDict], object]


@dataclass(frozen=True)
class Summary:
    """How a call of `run_study` went.

    Attributes:
      directory: of the study.
      runs: every trial, as its files stand now.
      skipped: how many were done before.
    """

    directory: Path
    runs: tuple[Run, ...]
    skipped: int

    def count(self, status: str) -> int:
        return sum(run.status == status for run in self.runs)

    @property
    def failed(self) -> list[Run]:
        """The runs that raised; a caller exits non-zero if there is one. A diverged run is a result."""
        return [run for run in self.runs if run.status == FAILED]

    def __str__(self) -> str:
        text = f"{len(self.runs)} runs: {self.count(FINISHED)} finished ({self.skipped} done before)"
        if self.count(DIVERGED):
            text += f", {self.count(DIVERGED)} diverged"
        if self.failed:
            text += f", {len(self.failed)} FAILED"
        lines = [f"  {run.label}, seed {run.seed}: {run.problem}\n    {run.directory}" for run in self.failed]
        return "\n".join([text, *lines])


def run_study(
    study: Study,
    directory: Path | str,
    *,
    trainer: Trainer | None = None,
    validator: Validator | None = None,
    command: str = "",
    tell: Callable[[str], None] = print,
) -> Summary:
    """Runs what is not done yet, in order. A run that raises is recorded and does not stop the others.

    Args:
      study: what to run.
      directory: where; started again with the same one, it skips what is done, resumes what was interrupted
        and tries again what failed.
      trainer: `(config, workdir) -> result`; `transformer_jax.train.train` if None.
      validator: raises UserError for a config that cannot be trained; `transformer_jax.validate.validate` if
        None. All trials are validated before the first one runs.
      command: what a reader types to run the study; printed in the report.
      tell: gets a line of progress.

    Raises:
      UserError: if the declaration differs from the directory's, a config is refused, the first finished
        run has not measured a declared metric, or one does not apply to the baseline.
      KeyboardInterrupt: is passed on; the run at hand resumes the next time.
    """
    store = Store(directory)
    with store.locked():
        _validate(trials(study), validator or _default_validator())
        planned = store.declare(study, command)
        trainer = trainer or _default_trainer()
        todo = []
        for trial in planned:
            before = _read(store, trial)
            _check_measured(study, before)
            if before.status not in (FINISHED, DIVERGED):
                todo.append(trial)
        skipped = len(planned) - len(todo)
        if skipped:
            tell(f"{skipped} of {len(planned)} runs are done already")
        took: list[float] = []
        for trial in todo:
            number = f"[{planned.index(trial) + 1}/{len(planned)}] {trial.label}, seed {trial.seed}"
            tell(f"{number}: running")
            started = monotonic()
            run = run_trial(store, trial, trainer)
            took.append(monotonic() - started)
            _check_measured(study, run)
            left = mean(took) * (len(todo) - len(took))
            tell(f"{number}: {_outcome(run, study.goal.metric)} ({took[-1]:.0f} s; {_duration(left)} left)")
        return Summary(store.directory, tuple(_read(store, t) for t in planned), skipped)


def run_trial(store: Store, trial: Trial, trainer: Trainer) -> Run:
    """Runs or resumes one trial of a declared study; what it raises goes to error.txt of its directory."""
    workdir = store.path(trial)
    workdir.mkdir(parents=True, exist_ok=True)
    error_path = workdir / "error.txt"
    error_path.unlink(missing_ok=True)
    try:
        trainer(trial.config, workdir)
        if _read(store, trial).status not in (FINISHED, DIVERGED):
            raise RuntimeError("the trainer returned without a result.json that says finished or diverged")
    except Exception:  # one bad run must not cost the others; it is counted and shown
        error_path.write_text(traceback.format_exc())
    return _read(store, trial)


def _validate(planned: list[Trial], validator: Validator) -> None:
    """Refuses all bad grid points at once, before anything is declared or compiled."""
    problems = {}
    for trial in planned:
        try:
            validator(trial.config)
        except UserError as error:
            problems.setdefault(trial.label, str(error))
    if problems:
        variants = {trial.label for trial in planned}
        lines = [f"variant {label!r}: {problem}" for label, problem in problems.items()]
        raise UserError(f"{len(problems)} of {len(variants)} variants are refused:\n  " + "\n  ".join(lines))


def _read(store: Store, trial: Trial) -> Run:
    return read_run(store.path(trial), trial.label, trial.seed)


def _check_measured(study: Study, run: Run) -> None:
    """A metric that is not measured stops the study, as every run would lack it; so does a baseline without one."""
    for goal in study.goals:
        reason = run.not_applicable(goal.metric)
        if reason and run.label == study.baseline:
            raise UserError(
                f"goal.metric={goal.metric!r} does not apply to the baseline {run.label!r} ({reason}): there is "
                "nothing to compare with; give another baseline or metric"
            )


def _outcome(run: Run, metric: str) -> str:
    """What to say of a run."""
    if run.status == FINISHED:
        reason, value = run.not_applicable(metric), run.value(metric)
        if reason:
            return f"{metric} not applicable: {reason}"
        return f"{metric} {math.nan if value is None else value:.4f}"
    return run.status if run.status == DIVERGED else f"FAILED: {run.problem}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _default_trainer() -> Trainer:
    from transformer_jax.train.loop import train  # imports JAX: only when something is to be trained

    return train


def _default_validator() -> Validator:
    import jax

    from transformer_jax.validate import validate

    machine = {"n_devices": jax.device_count(), "platform": jax.default_backend()}
    return lambda config: validate(config, **machine)
