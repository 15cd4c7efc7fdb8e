"""The difference of two variants, paired by seed: its intervals and its tests."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from transformer_jax.study.stats.sample import finite

EXACT_PAIRS = 14  # up to here every assignment of signs is tried
_RANDOM_SIGNS = 20_000  # beyond, that many random ones


@dataclass(frozen=True)
class Difference:
    """One variant minus another, paired by seed. Without variance there are no intervals and no t-test.

    Attributes:
      values: seed -> difference.
      mean: their mean, in the metric's unit.
      sd: their standard deviation (n - 1).
      low, high: t confidence interval of the mean at 1 - alpha for this comparison alone.
      p: two-sided p-value of the paired t-test, uncorrected.
      boot_low, boot_high: bootstrap percentile interval at the same level, NaN below 3 pairs. It is too narrow for
        few pairs (with 5 and 0.95, it holds the truth of normal values 84 times in 100, the t interval 95 times): it
        is there to show skew, and decides nothing.
      p_sign_flip: two-sided p-value of the sign-flip permutation test of the mean, uncorrected: exact up to 14 pairs,
        from 20,000 random assignments of signs beyond. It assumes that without a difference either sign of each
        seed's difference is as likely, and nothing of the distribution. It is never below 2 / 2^pairs.
    """

    values: dict[int, float]
    mean: float
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    boot_low: float = math.nan
    boot_high: float = math.nan
    p_sign_flip: float = math.nan

    def flipped(self) -> "Difference":
        """The other variant minus the one."""
        return dataclasses.replace(
            self,
            values={seed: -value for seed, value in self.values.items()},
            mean=-self.mean,
            low=-self.high,
            high=-self.low,
            boot_low=-self.boot_high,
            boot_high=-self.boot_low,
        )


def difference(ours: Mapping[int, float | None], theirs: Mapping[int, float | None], alpha: float) -> Difference | None:
    """`ours` minus `theirs` over the seeds that have both values; None if there is none."""
    ours, theirs = finite(ours), finite(theirs)
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    a, b = np.array([ours[s] for s in seeds]), np.array([theirs[s] for s in seeds])
    values = {seed: float(d) for seed, d in zip(seeds, a - b, strict=True)}
    mean = float(np.mean(a - b))
    if len(seeds) < 2:
        return Difference(values, mean)
    if np.array_equal(a, b):
        return Difference(values, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0)
    sd = float(np.std(a - b, ddof=1))
    rounding = 8 * np.finfo(float).eps * max(np.abs(a).max(), np.abs(b).max())
    signs = sign_flip_p(a, b) if np.abs(a - b).max() > rounding else math.nan
    # Differences that are equal but for rounding have no variance; a t-test of rounding errors would call
    # anything significant.
    if sd <= rounding:
        return Difference(values, mean, 0.0, p_sign_flip=signs)
    test = stats.ttest_rel(a, b)
    interval, boot = test.confidence_interval(1 - alpha), _bootstrap(a - b, alpha)
    return Difference(
        values, mean, sd, float(interval.low), float(interval.high), float(test.pvalue), *boot, p_sign_flip=signs
    )


def sign_flip_p(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value of the hypothesis that `a - b`, two or more, are spread symmetrically about 0."""
    # scipy takes means as tied that differ by 2e-14 of the observed one. Differences of metrics that count (accuracy)
    # have many ties, up to the rounding errors of the metrics: a constant makes that 2e-14 of the metrics.
    constant = 3 * max(np.abs(a).max(), np.abs(b).max())
    test = stats.permutation_test(
        (a - b,),
        lambda signed, axis: np.mean(signed, axis=axis) + constant,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_PAIRS if len(a) <= EXACT_PAIRS else _RANDOM_SIGNS,
        batch=4096,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def smallest_sign_flip_p(pairs: int) -> float:
    """The smallest p-value that `sign_flip_p` can return."""
    return 2 / 2**pairs if pairs <= EXACT_PAIRS else 2 / (_RANDOM_SIGNS + 1)


def sign_flip_pairs(level: float) -> int | None:
    """How many pairs `sign_flip_p` needs before it can return `level` or less; None if it never can."""
    return next((n for n in range(2, EXACT_PAIRS + 2) if smallest_sign_flip_p(n) <= level), None)


def equivalence_p(found: Difference, margin: float) -> float:
    """p-value of two one-sided t-tests of the hypothesis that the true difference lies outside ±margin (Schuirmann
    1987); NaN if there is no variance, or fewer than two pairs."""
    if not found.sd > 0:
        return math.nan
    values = np.array(list(found.values.values()))
    return float(ttost_paired(values, np.zeros_like(values), -margin, margin)[0])


def beyond_p(found: Difference, margin: float) -> float:
    """p-value of a t-test of the hypothesis that the true difference lies within ±margin, on the side where it was
    seen to lie; NaN if there is no variance, or fewer than two pairs."""
    if not found.sd > 0:
        return math.nan
    side = math.copysign(1.0, found.mean)
    values = side * np.array(list(found.values.values()))
    return float(stats.ttest_1samp(values, margin, alternative="greater").pvalue)


def _bootstrap(values: np.ndarray, alpha: float) -> tuple[float, float]:
    if len(values) < 3:
        return math.nan, math.nan
    interval = stats.bootstrap(
        (values,), np.mean, method="percentile", confidence_level=1 - alpha, rng=np.random.default_rng(0), batch=2048
    ).confidence_interval
    return float(interval.low), float(interval.high)
