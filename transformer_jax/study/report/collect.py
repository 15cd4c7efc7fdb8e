"""`collect`: a study's directory as one value, from which every output is made."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from transformer_jax.errors import UserError
from transformer_jax.study import store
from transformer_jax.study.stats import NOT_APPLICABLE, Comparison, Measured, Sample, compare_all, describe
from transformer_jax.study.store import Run, Store
from transformer_jax.study.trials import flat


@dataclass(frozen=True)
class Row:
    """One variant, on one metric.

    Attributes:
      label: its name.
      sample: its values of the metric.
      comparison: with the baseline; None for the baseline itself.
      lost: runs without a value, such as '1 of 3 diverged'; empty if there are none.
      parameters: how many it trains; None if unknown.
      parameters_ratio, speed_ratio: parameters, and median tokens per second, relative to the baseline;
        NaN if unknown.
    """

    label: str
    sample: Sample
    comparison: Comparison | None
    lost: str
    parameters: int | None
    parameters_ratio: float
    speed_ratio: float

    @property
    def verdict(self) -> str:
        return self.comparison.verdict if self.comparison else "baseline"

    @property
    def inapplicable(self) -> str:
        """Why the metric does not apply to the variant; empty if it does."""
        return self.comparison.reason if self.verdict == NOT_APPLICABLE else ""


@dataclass(frozen=True)
class Report:
    """What a study found on its primary metric; `also` holds the same of each secondary one.

    Attributes:
      directory: of the study.
      declaration: study.json.
      runs: every declared run.
      metric, direction: what is compared, and which way is better.
      rows: every variant, in declared order.
      also: the reports of the secondary metrics, in declared order; they have none themselves.
    """

    directory: Path
    declaration: dict
    runs: tuple[Run, ...]
    metric: str
    direction: str
    rows: tuple[Row, ...]
    also: "tuple[Report, ...]" = ()

    @property
    def goals(self) -> "tuple[Report, ...]":
        """The report of each metric, the primary one first."""
        return (self, *self.also)

    @property
    def tests(self) -> int:
        """How many comparisons Holm's correction runs over: all of the study, on all metrics, that were tested."""
        compared = [row.comparison for goal in self.goals for row in goal.rows if row.comparison]
        return sum(not math.isnan(comparison.p_corrected) for comparison in compared)

    @property
    def baseline(self) -> Row:
        return next(row for row in self.rows if row.comparison is None)

    @property
    def noise_floor(self) -> float:
        """Standard deviation of the baseline's metric over its seeds."""
        return self.baseline.sample.sd

    @property
    def detectable(self) -> float:
        """Median over the comparisons of the smallest effect that could have been found; NaN if unknown."""
        known = [r.comparison.detectable for r in self.rows if r.comparison]
        known = [value for value in known if not math.isnan(value)]
        return median(known) if known else math.nan

    @property
    def decimals(self) -> int:
        """Decimals that show two digits of the usual noise."""
        sds = [r.comparison.difference.sd for r in self.rows if r.comparison and r.comparison.difference]
        sds = [sd for sd in [*sds, self.noise_floor] if sd > 0]
        return min(6, max(2, 1 - math.floor(math.log10(median(sds))))) if sds else 4

    def count(self, status: str) -> int:
        return sum(run.status == status for run in self.runs)


def collect(directory: Path | str) -> Report:
    """Reads the study in `directory`.

    Raises:
      UserError: if there is none, no run has finished, or a metric does not apply to the baseline.
    """
    holder = Store(directory)
    declaration, runs = holder.declaration(), tuple(holder.runs())
    if not any(run.status == store.FINISHED for run in runs):
        raise UserError(f"{directory}: none of the {len(runs)} runs has finished, so there is nothing to report")
    labels = [variant["label"] for variant in declaration["variants"]]
    of = {label: [run for run in runs if run.label == label] for label in labels}
    goals = [(declaration["metric"], declaration["direction"])]
    goals += [(each["metric"], each["direction"]) for each in declaration["also"]]
    measured = [_measured(of, *goal) for goal in goals]
    compared = compare_all(measured, declaration["baseline"], declaration["alpha"])
    reports = [
        Report(
            holder.directory, declaration, runs, *goal, _rows(of, declaration["baseline"], found.values, comparisons)
        )
        for goal, found, comparisons in zip(goals, measured, compared, strict=True)
    ]
    return dataclasses.replace(reports[0], also=tuple(reports[1:]))


def _measured(of: dict[str, list[Run]], metric: str, direction: str) -> Measured:
    values = {label: {run.seed: run.value(metric) for run in runs} for label, runs in of.items()}
    reasons = {label: [run.not_applicable(metric) for run in runs] for label, runs in of.items()}
    absent = {label: next(filter(None, found)) for label, found in reasons.items() if any(found)}
    return Measured(values, direction, absent)


def _rows(of: dict[str, list[Run]], baseline: str, values: dict, comparisons: list[Comparison]) -> tuple[Row, ...]:
    by_label = {each.variant: each for each in comparisons}
    base = of[baseline]
    return tuple(
        Row(
            label=label,
            sample=describe(values[label]),
            comparison=by_label.get(label),
            lost=_lost(runs, values[label]),
            parameters=_typical(runs, "parameters"),
            parameters_ratio=_ratio(_typical(runs, "parameters"), _typical(base, "parameters")),
            speed_ratio=_ratio(_typical(runs, "tokens_per_second"), _typical(base, "tokens_per_second")),
        )
        for label, runs in of.items()
    )


def differing(report: Report) -> dict[str, dict[str, object]]:
    """dotted key -> variant -> value, for every key in which variants differ (defaults from the base)."""
    base, variants = flat(report.declaration["base"]), report.declaration["variants"]
    keys = sorted({key for variant in variants for key in variant["changed"]})
    return {key: {v["label"]: v["changed"].get(key, base.get(key)) for v in variants} for key in keys}


def held_equal(report: Report) -> dict[str, object]:
    """dotted key -> value, for every key that all variants share; seeds and cosmetic keys left out."""
    varied = differing(report)
    base = flat(report.declaration["base"])
    return {k: v for k, v in base.items() if k not in varied and k != "seed" and not k.startswith("run.")}


def _typical(runs: list[Run], key: str) -> float | None:
    found = [run.result[key] for run in runs if run.status == store.FINISHED and run.result.get(key) is not None]
    return median(found) if found else None


def _ratio(ours: float | None, theirs: float | None) -> float:
    return ours / theirs if ours is not None and theirs else math.nan


def _lost(runs: list[Run], values: dict[int, float | None]) -> str:
    # A run that finished with a non-finite metric has diverged, whatever it says of itself.
    words = [
        store.DIVERGED if run.status == store.FINISHED and not math.isfinite(values[run.seed] or 0.0) else run.status
        for run in runs
    ]
    kinds = (store.DIVERGED, store.FAILED, store.INTERRUPTED, store.MISSING)
    return ", ".join(f"{words.count(kind)} of {len(runs)} {kind}" for kind in kinds if kind in words)
