"""A study's directory: what was declared before the first run, and the runs. Files are the truth.

study.json              the declaration: question, metrics, directions, baseline, alpha, variants, seeds, …
units.json, units/      which runs train together, and who trains them now (units.py)
runs/TRIAL/             a run directory of `train`: config.json, metrics.jsonl, result.json, …
runs/TRIAL/error.txt    the traceback, if the run raised
launches.jsonl          a line for each time that the study was started
logs/, slurm/           what workers of launchers wrote
report/                 what `write_report` writes; can be deleted at any time
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.errors import UserError, nearest
from transformer_jax.files import check_links, plain_name, write_json
from transformer_jax.study import declaration, locks
from transformer_jax.study.study import Study
from transformer_jax.study.trials import Trial, trials
from transformer_jax.study.units import Plan, Slot, Unit, read_plan

FINISHED, DIVERGED, FAILED, INTERRUPTED, MISSING = "finished", "diverged", "failed", "interrupted", "missing"
DONE = (FINISHED, DIVERGED)
_PATIENCE = 60.0  # seconds; declaring and planning take a fraction of one


@dataclass(frozen=True)
class Run:
    """What a trial's directory says.

    Attributes:
      label, seed: which trial.
      directory: where.
      status: 'finished', 'diverged', 'failed' (it raised), 'interrupted' (begun, no result) or 'missing'.
      result: result.json, {} if there is none.
      problem: why there is no result, in a line; else empty.
    """

    label: str
    seed: int
    directory: Path
    status: str
    result: dict
    problem: str

    def value(self, metric: str) -> float | None:
        """The metric's value, None if the run has none, or the metric does not apply to it.

        Raises:
          UserError: if the run finished without measuring it.
        """
        if self.status != FINISHED:
            return None
        metrics = self.result.get("metrics", {})
        if metric not in metrics:
            raise UserError(
                f"metric={metric!r} was not measured by {self.directory.name}{nearest(metric, metrics)}; "
                f"have {', '.join(sorted(metrics)) or 'none'}"
            )
        return metrics[metric]

    def not_applicable(self, metric: str) -> str:
        """Why a finished run recorded no value (null) of a metric that it was asked for; empty if it has one.

        Raises:
          UserError: if the run finished without measuring it.
        """
        if self.status != FINISHED or self.value(metric) is not None:
            return ""
        reasons = self.result.get("not_applicable", {})
        return reasons.get(metric.partition("/")[0], "the run recorded no value, and no reason")

    def curve(self, key: str) -> dict[int, float]:
        """step -> value of `key` in metrics.jsonl; of a step logged twice (after a resume), the later one."""
        path = self.directory / "metrics.jsonl"
        points = {}
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # a killed process leaves a torn line; the resumed run has logged that step again
            if isinstance(row, dict) and row.get(key) is not None:
                points[int(row["step"])] = float(row[key])
        return dict(sorted(points.items()))


class Store:
    """The directory of one study."""

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the declaration and the plan for one process, for as long as it takes to write them.

        Raises:
          UserError: if another process does not let go of them, or something in the directory leads out of it.
        """
        check_links(self.directory)
        with locks.held(self.directory / ".lock", _PATIENCE) as mine:
            if not mine:
                raise UserError(f"another process is declaring the study in {self.directory}, and does not finish")
            yield

    def declare(
        self,
        study: Study,
        command: str = "",
        *,
        planned: list[Trial] | None = None,
        budget: dict | None = None,
        tuning: dict | None = None,
    ) -> list[Trial]:
        """Puts down the declaration, or holds `study` against the one that is there; returns the trials.

        Variants, seeds and claims may be added to a declared study. That is recorded with the number of results
        that were known by then, and the report says so. Nothing else may change.

        Args:
          planned: the trials if they are not just `trials(study)`: none yet, or with what a budget or tuning sets.
          budget, tuning: records of these, as study.json holds them.

        Raises:
          UserError: with the differences, if something else did.
        """
        planned = trials(study) if planned is None else planned
        new = declaration.declare(study, planned, command, budget, tuning)
        path = self.directory / "study.json"
        if not path.exists():
            write_json(path, new)
            return planned
        old = self.declaration()
        problems = declaration.changes(old, new)
        if problems:
            raise UserError(
                f"{path} declares another study; take a new directory for this one. Differences:\n  "
                + "\n  ".join(problems)
            )
        grown = any(declaration.additions(old, new)) or (new["trials"] and not old["trials"])
        if grown and (new["trials"] or not old["trials"]):
            known = sum(run.status in DONE for run in self.runs())
            write_json(path, declaration.amended(old, new, known))
        return planned

    def declaration(self) -> dict:
        """study.json, as one of the newest format.

        Raises:
          UserError: if there is none, or it cannot be read.
        """
        path = self.directory / "study.json"
        if not path.is_file():
            raise UserError(f"{self.directory} holds no study (no study.json): give the directory of `study run`")
        return declaration.read(path)

    def runs(self) -> list[Run]:
        """Every declared trial, run or not, in declared order. A study that is tuning has none yet."""
        return [self.run(**trial) for trial in self.declaration()["trials"]]

    def run(self, label: str, seed: int, directory: str, **_: object) -> Run:
        """The run of a trial, as study.json or a plan names it."""
        name = plain_name(directory, self.directory / "study.json")
        return read_run(self.directory / "runs" / name, label, seed)

    def run_of(self, slot: Slot) -> Run:
        return self.run(slot.label, slot.seed, slot.directory)

    def directories(self) -> dict[tuple[str, int], str]:
        """(label, seed) of every declared trial -> the name of its run directory."""
        return {(each["label"], each["seed"]): each["directory"] for each in self.declaration()["trials"]}

    def plan(self) -> Plan:
        """Which runs train together.

        Raises:
          UserError: if nothing is planned yet.
        """
        found = read_plan(self.directory)
        if found is None:
            raise UserError(f"{self.directory} has no plan (no units.json): start the study with `study run`")
        return found

    def record_launch(self, **what: object) -> None:
        """From now on, runs that failed before are tried again."""
        line = {"when": time.strftime("%Y-%m-%d %H:%M"), "host": socket.gethostname(), "pid": os.getpid(), **what}
        with (self.directory / "launches.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def launches(self) -> list[dict]:
        """When, where and how the study was started, oldest first."""
        path, found = self.directory / "launches.jsonl", []
        for line in path.read_text().splitlines() if path.is_file() else ():
            with contextlib.suppress(json.JSONDecodeError):  # a torn line
                found.append(json.loads(line))
        return found

    def refresh(self, unit: Unit) -> None:
        """Lists the unit's directories: NFS may not have seen yet what another machine has written to them."""
        for path in (self.directory / "runs", *(self.run_of(slot).directory for slot in unit.slots)):
            with contextlib.suppress(FileNotFoundError):
                os.listdir(path)

    def is_open(self, unit: Unit) -> bool:
        """Whether a run of the unit is to be trained: it is not done, and has not failed since the last launch."""
        runs = [self.run_of(slot) for slot in unit.slots]
        return any(run.status not in DONE and not self._failed_now(run) for run in runs)

    def _failed_now(self, run: Run) -> bool:
        # Times of one file server, whatever the clocks of the machines say.
        try:
            error, launch = (run.directory / "error.txt").stat(), (self.directory / "launches.jsonl").stat()
        except FileNotFoundError:  # not failed, or tried again by another process right now
            return False
        return run.status == FAILED and error.st_mtime_ns > launch.st_mtime_ns


def read_run(directory: Path, label: str, seed: int) -> Run:
    """What the files of one run directory say."""
    result_path, error_path = directory / "result.json", directory / "error.txt"
    problem = ""
    if result_path.is_file():
        try:
            result = json.loads(result_path.read_text())
            if result.get("status") in DONE:
                return Run(label, seed, directory, result["status"], result, "")
            problem = f"result.json has status {result.get('status')!r}"
        except (ValueError, AttributeError, RecursionError) as error:
            problem = f"result.json cannot be read: {error}"
    if error_path.is_file():
        last = (error_path.read_text().strip() or "error.txt is empty").splitlines()[-1]
        return Run(label, seed, directory, FAILED, {}, last)
    begun = (directory / "config.json").is_file() or (directory / "metrics.jsonl").is_file()
    return Run(label, seed, directory, INTERRUPTED if begun or problem else MISSING, {}, problem or "no result")
