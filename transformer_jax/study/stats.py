"""Paired comparisons of variants with a baseline. All formulas are scipy's and statsmodels'."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from transformer_jax.errors import UserError

BETTER, WORSE, SAME, UNTESTED = "better", "worse", "not distinguishable", "not tested"
NOT_APPLICABLE = "not applicable"
POWER = 0.8  # at which the smallest detectable effect is given


@dataclass(frozen=True)
class Sample:
    """One variant's values: how many there are, how many runs gave none, mean and standard deviation (n - 1).

    `mean` is NaN without a value, `sd` with fewer than two.
    """

    n: int
    lost: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Difference:
    """A variant minus the baseline, paired by seed.

    Attributes:
      values: seed -> difference.
      mean: their mean, in the metric's unit.
      sd: their standard deviation (n - 1).
      low, high: t confidence interval of the mean at 1 - alpha for this comparison alone.
      p: two-sided p-value of the paired t-test, uncorrected.
    """

    values: dict[int, float]
    mean: float
    sd: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Measured:
    """One metric of all variants.

    Attributes:
      values: label -> seed -> value; None or non-finite where a run gave none.
      direction: 'min' if less is better, 'max' if more is.
      not_applicable: label -> reason, of the variants that the metric does not apply to.
    """

    values: Mapping[str, Mapping[int, float | None]]
    direction: str = "min"
    not_applicable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """One variant against the baseline, on one metric.

    Attributes:
      variant: its label.
      sample: its own values.
      difference: paired difference to the baseline, None without a pair.
      p_corrected: Holm-corrected over all comparisons of the study, on all its metrics, that could be tested;
        NaN if untested.
      detectable: the smallest true difference that the study would have found with 80 % power, in the
        metric's unit; NaN if unknown.
      verdict: 'better', 'worse', 'not distinguishable', 'not tested' or 'not applicable'.
      reason: why it was not tested or does not apply, or what is odd about it; else empty.
    """

    variant: str
    sample: Sample
    difference: Difference | None
    p_corrected: float
    detectable: float
    verdict: str
    reason: str


def describe(values: Mapping[int, float | None]) -> Sample:
    """The sample of one variant from seed -> value, which is None or non-finite for a run that gave none."""
    good = list(_finite(values).values())
    mean = float(np.mean(good)) if good else math.nan
    sd = float(np.std(good, ddof=1)) if len(good) > 1 else math.nan
    return Sample(len(good), len(values) - len(good), mean, sd)


def compare(
    values_by_variant: Mapping[str, Mapping[int, float | None]],
    baseline: str,
    direction: str = "min",
    alpha: float = 0.05,
) -> list[Comparison]:
    """`compare_all` of one metric."""
    return compare_all([Measured(values_by_variant, direction)], baseline, alpha)[0]


def compare_all(metrics: Sequence[Measured], baseline: str, alpha: float = 0.05) -> list[list[Comparison]]:
    """Of each metric, every variant but the baseline against it, in the given order.

    A verdict other than 'not distinguishable' needs a Holm-corrected p-value of at most `alpha`. The correction
    runs over the tests of all metrics together, so that the chance of any false verdict in a whole study is at
    most `alpha` (Holm 1979). What could not be tested, or does not apply, is no test and does not count. The
    smallest detectable effect is that of the paired t-test at Holm's first and hardest step, `alpha` over the
    number of tests.

    Args:
      baseline: one of the labels.
      alpha: family-wise error rate, and one minus the level of the intervals.

    Raises:
      UserError: if the baseline or a direction is unknown, or a metric does not apply to the baseline.
    """
    differences: dict[tuple[int, str], Difference | None] = {}
    for i, metric in enumerate(metrics):
        _check(metric, baseline)
        theirs = _finite(metric.values[baseline])
        for label in metric.values:
            if label != baseline:
                applies = label not in metric.not_applicable
                ours = _finite(metric.values[label]) if applies else {}
                differences[i, label] = _difference(ours, theirs, alpha)
    tested = [each for each, difference in differences.items() if difference and not math.isnan(difference.p)]
    corrected = dict.fromkeys(differences, math.nan)
    if tested:
        holm = multipletests([differences[each].p for each in tested], alpha=alpha, method="holm")[1]
        corrected |= dict(zip(tested, map(float, holm), strict=True))
    made: list[list[Comparison]] = [[] for _ in metrics]
    for (i, label), difference in differences.items():
        p, detectable = corrected[i, label], math.nan
        if (i, label) in tested and difference.sd > 0:
            detectable = difference.sd * detectable_effect(len(difference.values), alpha / len(tested))
        sample = describe(metrics[i].values[label])
        verdict, reason = _verdict(difference, p, metrics[i].direction, alpha), _reason(sample, difference)
        if label in metrics[i].not_applicable:
            verdict, reason = NOT_APPLICABLE, metrics[i].not_applicable[label]
        made[i].append(Comparison(label, sample, difference, p, detectable, verdict, reason))
    return made


def _check(metric: Measured, baseline: str) -> None:
    if baseline not in metric.values:
        raise UserError(f"baseline={baseline!r} has no values; have {', '.join(metric.values)}")
    if metric.direction not in ("min", "max"):
        raise UserError(f"direction={metric.direction!r}: give 'min' or 'max'")
    if baseline in metric.not_applicable:
        raise UserError(f"the metric does not apply to baseline={baseline!r}: {metric.not_applicable[baseline]}")


@cache
def detectable_effect(pairs: int, alpha: float, power: float = POWER) -> float:
    """The effect, in standard deviations of the paired difference, that a two-sided paired t-test at `alpha`
    finds on the right side with probability `power`.

    `TTestPower.solve_power` is not used: with few pairs it returns values that are not solutions (for 2 pairs
    at alpha 0.0125 it gives 10.0, whose power is 0.22), without an error.
    """
    test = TTestPower()

    def excess(effect: float) -> float:
        return float(test.power(effect, pairs, alpha / 2, alternative="larger")) - power

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high))


def _finite(values: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: float(v) for seed, v in values.items() if v is not None and math.isfinite(v)}


def _difference(ours: dict[int, float], theirs: dict[int, float], alpha: float) -> Difference | None:
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    a, b = np.array([ours[s] for s in seeds]), np.array([theirs[s] for s in seeds])
    values = {seed: float(d) for seed, d in zip(seeds, a - b, strict=True)}
    mean = float(np.mean(a - b))
    if len(seeds) < 2:
        return Difference(values, mean, math.nan, math.nan, math.nan, math.nan)
    if np.array_equal(a, b):
        return Difference(values, 0.0, 0.0, 0.0, 0.0, 1.0)
    sd = float(np.std(a - b, ddof=1))
    # Differences that are equal but for rounding have no variance; a t-test of rounding errors would call
    # anything significant.
    if sd <= 8 * np.finfo(float).eps * max(np.abs(a).max(), np.abs(b).max()):
        return Difference(values, mean, 0.0, math.nan, math.nan, math.nan)
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval(1 - alpha)
    return Difference(values, mean, sd, float(interval.low), float(interval.high), float(test.pvalue))


def _verdict(difference: Difference | None, p: float, direction: str, alpha: float) -> str:
    if math.isnan(p):
        return UNTESTED
    if p > alpha:
        return SAME
    return BETTER if (difference.mean < 0) == (direction == "min") else WORSE


def _reason(sample: Sample, difference: Difference | None) -> str:
    if sample.n == 0:
        return "no run gave a value"
    if difference is None:
        return "no seed has a value for both this variant and the baseline"
    if len(difference.values) < 2:
        return "one pair only: a paired test needs two"
    if math.isnan(difference.p):
        return "the difference is the same in every seed: without variance there is no test"
    if difference.sd == 0:
        return "identical to the baseline in every seed"
    return ""
