"""A study's directory: what was declared before the first run, and the runs. Files are the truth.

study.json              the declaration: question, metrics, directions, baseline, alpha, variants, seeds
runs/TRIAL/             a run directory of `train`: config.json, metrics.jsonl, result.json, …
runs/TRIAL/error.txt    the traceback, if the run raised
report/                 what `write_report` writes; can be deleted at any time
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformer_jax import config as configs
from transformer_jax.errors import UserError, nearest
from transformer_jax.files import locked, write_json
from transformer_jax.study.study import Study
from transformer_jax.study.trials import Trial, flat, trials

FINISHED, DIVERGED, FAILED, INTERRUPTED, MISSING = "finished", "diverged", "failed", "interrupted", "missing"
_FIXED = ("name", "metric", "direction", "also", "alpha", "baseline")  # never changed once declared
_FORMAT = 2
_READABLE = (1, 2)  # 1 has no secondary goals


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
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # a killed process leaves a torn line; the resumed run has logged that step again
            if key in row and row[key] is not None:
                points[int(row["step"])] = float(row[key])
        return dict(sorted(points.items()))


class Store:
    """The directory of one study."""

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for one process.

        Raises:
          UserError: if another process runs this study.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self.directory / ".lock", f"another process is running the study in {self.directory}"):
            yield

    def path(self, trial: Trial) -> Path:
        return self.directory / "runs" / trial.directory

    def declare(self, study: Study, command: str = "") -> list[Trial]:
        """Puts down the declaration, or holds `study` against the one that is there; returns the trials.

        Variants and seeds may be added to a declared study. That is recorded with the number of results that
        were known by then, and the report says so. Nothing else may change.

        Raises:
          UserError: with the differences, if something else did.
        """
        planned = trials(study)
        new = _declaration(study, planned, command)
        path = self.directory / "study.json"
        if not path.exists():
            write_json(path, new)
            return planned
        old = self.declaration()
        problems = _changes(old, new)
        if problems:
            raise UserError(
                f"{path} declares another study; take a new directory for this one. Differences:\n  "
                + "\n  ".join(problems)
            )
        added = _additions(old, new)
        if added:
            known = sum(run.status in (FINISHED, DIVERGED) for run in self.runs())
            amendment = {"when": time.strftime("%Y-%m-%d %H:%M"), "added": added, "results_known": known}
            write_json(path, new | {"declared": old["declared"], "amendments": [*old["amendments"], amendment]})
        return planned

    def declaration(self) -> dict:
        """study.json.

        Raises:
          UserError: if there is none, or it cannot be read.
        """
        path = self.directory / "study.json"
        if not path.is_file():
            raise UserError(f"{self.directory} holds no study (no study.json): give the directory of `study run`")
        try:
            found = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        if found.get("format") not in _READABLE:
            readable = " and ".join(map(str, _READABLE))
            raise UserError(f"{path} has format {found.get('format')!r}; this version reads {readable}")
        return {"also": []} | found

    def runs(self) -> list[Run]:
        """Every declared trial, run or not, in declared order."""
        declared = self.declaration()["trials"]
        return [read_run(self.directory / "runs" / t["directory"], t["label"], t["seed"]) for t in declared]


def read_run(directory: Path, label: str, seed: int) -> Run:
    """What the files of one run directory say."""
    result_path, error_path = directory / "result.json", directory / "error.txt"
    problem = ""
    if result_path.is_file():
        try:
            result = json.loads(result_path.read_text())
            if result.get("status") in (FINISHED, DIVERGED):
                return Run(label, seed, directory, result["status"], result, "")
            problem = f"result.json has status {result.get('status')!r}"
        except (json.JSONDecodeError, AttributeError) as error:
            problem = f"result.json cannot be read: {error}"
    if error_path.is_file():
        last = (error_path.read_text().strip() or "error.txt is empty").splitlines()[-1]
        return Run(label, seed, directory, FAILED, {}, last)
    begun = (directory / "config.json").is_file() or (directory / "metrics.jsonl").is_file()
    return Run(label, seed, directory, INTERRUPTED if begun or problem else MISSING, {}, problem or "no result")


def _declaration(study: Study, planned: list[Trial], command: str) -> dict:
    base = flat(study.base)
    first = {}
    for trial in planned:
        first.setdefault(trial.label, flat(trial.config))
    return {
        "format": _FORMAT,
        "name": study.name,
        "question": study.question,
        "metric": study.goal.metric,
        "direction": study.goal.direction,
        "also": [{"metric": goal.metric, "direction": goal.direction} for goal in study.also],
        "alpha": study.goal.alpha,
        "baseline": study.baseline,
        "seeds": sorted({trial.seed for trial in planned}),
        "variants": [
            {
                "label": each.label,
                "overrides": dict(each.overrides),
                # Keys that follow an overridden one (ffn_size follows width) have changed too.
                "changed": {k: v for k, v in first[each.label].items() if v != base[k] and k != "seed"},
            }
            for each in study.grid
        ],
        "base": configs.to_dict(study.base),
        "trials": [
            {"label": t.label, "seed": t.seed, "directory": t.directory, "fingerprint": t.fingerprint} for t in planned
        ],
        "command": command,
        "declared": time.strftime("%Y-%m-%d %H:%M"),
        "amendments": [],
    }


def _changes(old: dict, new: dict) -> list[str]:
    """What no study may change, a line each."""
    lines = [f"{key}: {old[key]!r} -> {new[key]!r}" for key in _FIXED if old[key] != new[key]]
    bases = (old["base"] | {"seed": 0}, new["base"] | {"seed": 0})  # seeds are compared as such, below
    lines += [f"base {line}" for line in configs.differences(*bases)]
    have = {each["label"]: each["overrides"] for each in new["variants"]}
    for each in old["variants"]:
        if each["label"] not in have:
            lines.append(f"variant {each['label']!r}: taken away")
        elif have[each["label"]] != each["overrides"]:
            lines.append(f"variant {each['label']!r}: {each['overrides']!r} -> {have[each['label']]!r}")
    gone = sorted(set(old["seeds"]) - set(new["seeds"]))
    return lines + ([f"seeds: {old['seeds']} -> {new['seeds']} (taken away: {gone})"] if gone else [])


def _additions(old: dict, new: dict) -> list[str]:
    labels = {each["label"] for each in old["variants"]}
    lines = [f"variant {each['label']!r}" for each in new["variants"] if each["label"] not in labels]
    return lines + [f"seed {seed}" for seed in new["seeds"] if seed not in old["seeds"]]
