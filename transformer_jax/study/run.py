"""`run_study`: everything of a study that is not done yet, the runs that are done left alone."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from transformer_jax import config as configs
from transformer_jax.errors import UserError
from transformer_jax.study.launch import Job, Launcher, launchers
from transformer_jax.study.store import DIVERGED, DONE, FAILED, FINISHED, Run, Store
from transformer_jax.study.study import Study
from transformer_jax.study.trials import Extra, Trial, flat, trials
from transformer_jax.study.units import Plan, plan_units, read_plan, write_plan
from transformer_jax.study.work import Trainer, check_measured

Validator = Callable[[ConfigDict], object]


@dataclass(frozen=True)
class Summary:
    """How a call of `run_study` went.

    Attributes:
      directory: of the study.
      runs: every trial, as its files stand now; those of the tuning, if the study has not come further.
      skipped: how many were done before.
      note: what goes on after the call, such as a job that was submitted; else empty.
      tuning: whether `runs` are those of the tuning.
    """

    directory: Path
    runs: tuple[Run, ...]
    skipped: int
    note: str = ""
    tuning: bool = False

    def count(self, status: str) -> int:
        return sum(run.status == status for run in self.runs)

    @property
    def failed(self) -> list[Run]:
        """The runs that raised; a caller exits non-zero if there is one. A diverged run is a result."""
        return [run for run in self.runs if run.status == FAILED]

    @property
    def complete(self) -> bool:
        """Whether every run of the study has a result."""
        return not self.tuning and all(run.status in DONE for run in self.runs)

    def __str__(self) -> str:
        text = f"{len(self.runs)} {'tuning runs' if self.tuning else 'runs'}: "
        text += f"{self.count(FINISHED)} finished ({self.skipped} done before)"
        if self.count(DIVERGED):
            text += f", {self.count(DIVERGED)} diverged"
        if self.failed:
            text += f", {len(self.failed)} FAILED"
        open_ = len(self.runs) - self.count(FINISHED) - self.count(DIVERGED) - len(self.failed)
        if open_:
            text += f", {open_} not done yet"
        lines = [f"  {run.label}, seed {run.seed}: {run.problem}\n    {run.directory}" for run in self.failed]
        if open_ and not self.note:
            lines.append("  others train them now, or stopped: `study status` says which")
        if self.tuning:
            lines.append("  the same command goes on with the study once all of them are done")
        return "\n".join([text, *lines, *([self.note] if self.note else [])])


def run_study(
    study: Study,
    directory: Path | str,
    *,
    trainer: Trainer | None = None,
    validator: Validator | None = None,
    command: str = "",
    tell: Callable[[str], None] = print,
    launcher: str = "here",
    processes: int | None = None,
    members: int | None = None,
) -> Summary:
    """Runs what is not done yet. A run that raises is recorded and does not stop the others.

    Args:
      study: what to run.
      directory: where; started again with the same one, it skips what is done, resumes what was interrupted
        and tries again what failed. Several calls at once share the work.
      trainer: `(configs, workdirs) -> …` for runs that may train together; only with the launcher 'here'.
        `transformer_jax.train.population.train_unit` if None.
      validator: raises UserError for a config that cannot be trained; `transformer_jax.validate.validate` if
        None. All variants are validated before the first run.
      command: what a reader types to run the study; printed in the report.
      tell: gets a line of progress.
      launcher: where the runs are trained: a name in `transformer_jax.study.launch`.
      processes: how many workers, for launchers that start some.
      members: how many runs train together at most; None leaves it to the device's memory.

    Raises:
      UserError: if the declaration differs from the directory's, a config is refused, the first finished
        run has not measured a declared metric, or one does not apply to the baseline.
      KeyboardInterrupt: is passed on; the runs at hand resume the next time.
    """
    if members is not None and members < 1:
        raise UserError(f"members={members}: give 1 or more")
    how = launchers.build(launcher, processes=processes)
    if trainer is not None and launcher != "here":
        raise ValueError(f"launcher={launcher!r} starts processes of its own, which cannot be given a trainer")
    start = _Start(
        study, Store(directory), how, trainer, validator or _validator(how, study, members), command, tell, members
    )
    if trainer is None:
        from transformer_jax.study.measured import unmeasured

        problems = unmeasured(study)
        if problems:
            raise UserError("\n  ".join(["the study asks for what its runs do not measure:", *problems]))
    start.validate(trials(study))  # as they stand, before anything is counted or tuned
    extra, budget = _budget(start)
    tuning = None
    if study.tune is not None:
        summary, chosen, tuning = _tuned(start, extra, budget)
        if summary is not None:
            return summary
        extra = {label: extra.get(label, {}) | chosen.get(label, {}) for label in study.grid.labels}
    planned = trials(study, extra=extra) if extra else trials(study)
    start.validate(planned)
    start.declare(planned, budget, tuning)
    names = start.store.directories()
    return start.run([(trial, names[trial.label, trial.seed]) for trial in planned])


def _budget(start: "_Start") -> tuple[Extra, dict | None]:
    """What makes the variants equal, and the record of it; what is recorded already stays."""
    study, store = start.study, start.store
    if study.budget is None:
        return {}, None
    old = store.declaration()["budget"] if (store.directory / "study.json").is_file() else None
    matched = old["matched"] if old else {}
    if old and set(study.grid.labels) <= set(matched):
        extra = {label: {old["resize"]: matched[label]["value"]} for label in study.grid.labels}
        return extra, old | dataclasses.asdict(study.budget)  # a budget that was changed since is refused
    from transformer_jax.study import budget

    extra, record = budget.fit(study, start.validator)
    extra |= {label: {record["resize"]: each["value"]} for label, each in matched.items()}
    return extra, record | {"matched": record["matched"] | matched}


def _tuned(start: "_Start", extra: Extra, budget: dict | None) -> tuple[Summary | None, Extra, dict | None]:
    """What was chosen for each variant, and the record of it; or, if that is not known yet, how the tuning stands.

    A recorded choice stays. Variants that were added since are tuned alone.
    """
    study, store = start.study, start.store
    old = store.declaration()["tuning"] if (store.directory / "study.json").is_file() else None
    chosen = old["chosen"] if old else {}
    asked = dataclasses.asdict(study.tune)
    if not set(study.grid.labels) <= set(chosen):
        from transformer_jax.study import tune

        planned = tune.trials(study, extra)
        start.validate(planned)
        # The declaration comes before the first result, of the tuning too.
        start.declare([], budget, asked | {"chosen": {}, "cost": None})
        summary = start.run([(trial, trial.directory) for trial in planned], tuning=True)
        if any(run.status not in DONE for run in summary.runs):
            return summary, {}, None
        _, old = tune.choose(study, summary.runs)
        old = old | {"chosen": old["chosen"] | chosen}
    # What was asked is declared again: if it was changed since, it is refused.
    return None, {label: {study.tune.key: each["value"]} for label, each in old["chosen"].items()}, old | asked


@dataclasses.dataclass
class _Start:
    """One call of `run_study`."""

    study: Study
    store: Store
    how: Launcher
    trainer: Trainer | None
    validator: Validator
    command: str
    tell: Callable[[str], None]
    members: int | None

    def validate(self, planned: list[Trial]) -> None:
        """Refuses all bad grid points at once, before anything is declared or compiled."""
        problems = {}
        for trial in {trial.label: trial for trial in reversed(planned)}.values():  # seeds make no difference
            try:
                self.validator(trial.config)
            except UserError as error:
                problems[trial.label] = str(error)
        if problems:
            labels = list(dict.fromkeys(trial.label for trial in planned))
            lines = [f"variant {label!r}: {problems[label]}" for label in labels if label in problems]
            raise UserError(f"{len(problems)} of {len(labels)} variants are refused:\n  " + "\n  ".join(lines))

    def declare(self, planned: list[Trial], budget: dict | None, tuning: dict | None) -> None:
        with self.store.locked():
            self.store.declare(self.study, self.command, planned=planned, budget=budget, tuning=tuning)

    def run(self, planned: list[tuple[Trial, str]], tuning: bool = False) -> Summary:
        """Plans what has no plan yet, and gets what is open trained.

        Args:
          planned: trials, each with the name of its directory.
        """
        before = self._runs(planned)
        if not tuning:
            check_measured(self.store.declaration(), before)
        skipped = sum(run.status in DONE for run in before)
        if skipped:
            self.tell(f"{skipped} of {len(planned)} {'tuning runs' if tuning else 'runs'} are done already")
        with self.store.locked():
            plan = read_plan(self.store.directory) or Plan(configs.to_dict(self.study.base))
            named = [(self._named(trial) if tuning else trial, name) for trial, name in planned]
            plan = plan_units(plan, named, self._group(), parts=self.how.parts, members=self.members)
            write_plan(self.store.directory, plan)
        note = ""
        if skipped < len(planned):
            self.store.record_launch(launcher=self.how.name, processes=self.how.processes)
            workers = self.how.workers(sum(self.store.is_open(unit) for unit in plan.units))
            note = self.how.launch(Job(self.store, self.study.resources, self.tell, self.trainer), workers)
            if note:
                self.store.record_launch(launcher=self.how.name, note=note)
        return Summary(self.store.directory, tuple(self._runs(planned)), skipped, note, tuning)

    def _runs(self, planned: list[tuple[Trial, str]]) -> list[Run]:
        return [self.store.run(trial.label, trial.seed, directory) for trial, directory in planned]

    def _named(self, trial: Trial) -> Trial:
        """As progress should call a run that tunes."""
        key = self.study.tune.key
        return dataclasses.replace(trial, label=f"{trial.label} with {key}={flat(trial.config)[key]}")

    def _group(self) -> Callable[[ConfigDict], str]:
        """What may train together: whatever the trainer can; seeds of one variant if it is another one."""
        if self.trainer is not None:
            return lambda config: configs.fingerprint(configs.to_dict(config) | {"seed": 0})
        from transformer_jax.train.hyper import static_key

        return static_key


def _validator(how: Launcher, study: Study, members: int | None) -> Validator:
    machine = how.machine(study.resources)  # first, as it may decide what JAX sees
    import jax

    from transformer_jax.validate import validate

    machine = machine or {"n_devices": jax.device_count(), "platform": jax.default_backend()}
    alone = members == 1 and machine["platform"] != "cpu"

    def check(config: ConfigDict) -> None:
        # Runs that train together take what their mesh asks for, and leave the other devices to each other.
        asked = math.prod(max(1, size) for size in config.mesh.values())
        n_devices = machine["n_devices"] if alone else min(asked, machine["n_devices"])
        validate(config, n_devices=n_devices, platform=machine["platform"])

    return check
