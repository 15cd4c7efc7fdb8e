"""`collect`: a study's directory as one value, from which every output is made."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from transformer_jax.errors import UserError
from transformer_jax.study import store
from transformer_jax.study.claims import Claim
from transformer_jax.study.report.cost import Cost, cost_of
from transformer_jax.study.stats import (
    NOT_APPLICABLE,
    Analysis,
    Comparison,
    Diverged,
    Factorial,
    Measured,
    Sample,
    analyse,
    describe,
    diverged,
    factorial,
    levels_of,
)
from transformer_jax.study.store import Run, Store
from transformer_jax.study.trials import flat


@dataclass(frozen=True)
class Row:
    """One variant, on one metric.

    Attributes:
      number: its place in the declared order, from 1: its name in pictures.
      label: its name.
      sample: its values of the metric.
      comparison: with the baseline; None for the baseline itself.
      lost: runs without a value, such as '1 of 3 diverged'; empty if there are none.
      cost, base_cost: its own and the baseline's.
    """

    number: int
    label: str
    sample: Sample
    comparison: Comparison | None
    lost: str
    cost: Cost
    base_cost: Cost

    @property
    def verdict(self) -> str:
        return self.comparison.verdict if self.comparison else "baseline"

    @property
    def inapplicable(self) -> str:
        """Why the metric does not apply to the variant; empty if it does."""
        return self.comparison.reason if self.verdict == NOT_APPLICABLE else ""

    @property
    def parameters(self) -> int | None:
        return self.cost.parameters

    def ratio(self, what: str) -> float:
        """A field of its cost relative to the baseline's; NaN if unknown."""
        ours, theirs = getattr(self.cost, what), getattr(self.base_cost, what)
        return ours / theirs if ours is not None and theirs else math.nan

    @property
    def parameters_ratio(self) -> float:
        return self.ratio("parameters")

    @property
    def speed_ratio(self) -> float:
        return self.ratio("tokens_per_second")


@dataclass(frozen=True)
class Report:
    """What a study found on its primary metric; `also` holds the same of each secondary one.

    Attributes:
      directory: of the study.
      declaration: study.json.
      runs: every declared run.
      metric, direction: what is compared, and which way is better.
      rows: every variant, in declared order.
      analysis: of all metrics together.
      also: the reports of the secondary metrics, in declared order; they have none themselves.
    """

    directory: Path
    declaration: dict
    runs: tuple[Run, ...]
    metric: str
    direction: str
    rows: tuple[Row, ...]
    analysis: Analysis
    also: "tuple[Report, ...]" = ()

    @property
    def goals(self) -> "tuple[Report, ...]":
        """The report of each metric, the primary one first."""
        return (self, *self.also)

    @property
    def margin(self) -> float | None:
        """Half the width of the range within which differences do not matter; None if none was declared."""
        return next(goal["margin"] for goal in _goals(self.declaration) if goal["metric"] == self.metric)

    @property
    def tests(self) -> int:
        """How many comparisons Holm's correction runs over: all of the study, on all metrics, that were tested."""
        return self.analysis.n_tests

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
    goals = _goals(declaration)
    measured = [_measured(of, goal) for goal in goals]
    analysis = analyse(
        measured,
        declaration["baseline"],
        declaration["alpha"],
        test=declaration.get("test", "t"),
        claims=[_claim(each) for each in declaration.get("claims", [])],
        names=[goal["metric"] for goal in goals],
    )
    reports = [
        Report(
            holder.directory,
            declaration,
            runs,
            goal["metric"],
            goal["direction"],
            _rows(of, declaration["baseline"], found.values, comparisons),
            analysis,
        )
        for goal, found, comparisons in zip(goals, measured, analysis.comparisons, strict=True)
    ]
    return dataclasses.replace(reports[0], also=tuple(reports[1:]))


def values(report: Report) -> dict[str, dict[int, float | None]]:
    """label -> seed -> value of the report's metric."""
    found: dict[str, dict[int, float | None]] = {row.label: {} for row in report.rows}
    for run in report.runs:
        found[run.label][run.seed] = run.value(report.metric)
    return found


def factors(report: Report) -> Factorial | None:
    """The factorial analysis of the report's metric, None unless the grid is a full product of factors."""
    levels = levels_of(report.declaration["variants"])
    return factorial(values(report), levels, report.declaration["alpha"]) if levels else None


def divergences(report: Report) -> list[Diverged]:
    """The share of diverged runs of every variant; none if no run has diverged."""
    found: dict[str, dict[int, bool | None]] = {row.label: {} for row in report.rows}
    for run in report.runs:
        what = _outcome(run, run.value(report.metric))
        found[run.label][run.seed] = {store.DIVERGED: True, store.FINISHED: False}.get(what)
    if not any(True in by_seed.values() for by_seed in found.values()):
        return []
    return diverged(found, report.declaration["baseline"], report.declaration["alpha"])


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


def _goals(declaration: dict) -> list[dict]:
    """Metric, direction and margin of every goal; studies of older formats have no margins."""
    every = [declaration, *declaration.get("also", [])]
    return [{"margin": None} | {k: g[k] for k in ("metric", "direction", "margin") if k in g} for g in every]


def _claim(saved: dict) -> Claim:
    return Claim(saved["left"], saved["relation"], saved["right"], saved.get("source", ""), saved.get("metric"))


def _measured(of: dict[str, list[Run]], goal: dict) -> Measured:
    metric = goal["metric"]
    found = {label: {run.seed: run.value(metric) for run in runs} for label, runs in of.items()}
    reasons = {label: [run.not_applicable(metric) for run in runs] for label, runs in of.items()}
    absent = {label: next(filter(None, each)) for label, each in reasons.items() if any(each)}
    return Measured(found, goal["direction"], absent, goal["margin"])


def _rows(of: dict[str, list[Run]], baseline: str, found: dict, comparisons: list[Comparison]) -> tuple[Row, ...]:
    by_label = {each.variant: each for each in comparisons}
    base_cost = cost_of(of[baseline])
    return tuple(
        Row(
            number=number,
            label=label,
            sample=describe(found[label]),
            comparison=by_label.get(label),
            lost=_lost(runs, found[label]),
            cost=cost_of(runs),
            base_cost=base_cost,
        )
        for number, (label, runs) in enumerate(of.items(), 1)
    )


def _lost(runs: list[Run], found: dict[int, float | None]) -> str:
    outcomes = [_outcome(run, found[run.seed]) for run in runs]
    kinds = (store.DIVERGED, store.FAILED, store.INTERRUPTED, store.MISSING)
    return ", ".join(f"{outcomes.count(kind)} of {len(runs)} {kind}" for kind in kinds if kind in outcomes)


def _outcome(run: Run, value: float | None) -> str:
    """Its status; a run that finished with a non-finite metric has diverged, whatever it says of itself."""
    return store.DIVERGED if run.status == store.FINISHED and not math.isfinite(value or 0.0) else run.status
