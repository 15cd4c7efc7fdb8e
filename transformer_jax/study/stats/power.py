"""How much a number of seeds can show: power, detectable effects, and the seeds that an effect needs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize
from statsmodels.stats.power import TTestPower

from transformer_jax.errors import UserError
from transformer_jax.study.stats.paired import difference
from transformer_jax.study.stats.sample import describe

POWER = 0.8  # at which the smallest detectable effect is given
MOST_SEEDS = 10_000  # a plan for more than that is none
MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a paired difference.

    Attributes:
      sd: in the metric's unit; NaN if unknown.
      df: degrees of freedom that it is estimated from.
      source: what it is taken from, a phrase.
    """

    sd: float
    df: int
    source: str


@dataclass(frozen=True)
class PowerRow:
    """How many seeds an effect needs.

    Attributes:
      effect: in the metric's unit.
      in_sds: in standard deviations of the paired difference.
      seeds: per variant; None if it takes more than `MOST_SEEDS`.
    """

    effect: float
    in_sds: float
    seeds: int | None


@cache
def detectable_effect(pairs: int, alpha: float, power: float = POWER) -> float:
    """The effect, in standard deviations of the paired difference, that a two-sided paired t-test at `alpha`
    finds on the right side with probability `power`; NaN where that cannot be computed (2 pairs at an alpha below
    about 1e-5: it is more than 100,000).

    `TTestPower.solve_power` is not used: with few pairs it returns values that are not solutions (for 2 pairs
    at alpha 0.0125 it gives 10.0, whose power is 0.22), without an error.
    """

    def excess(effect: float) -> float:
        return _power(effect, pairs, alpha) - power

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return math.nan if math.isnan(excess(high)) else float(optimize.brentq(excess, 0.0, high))


def power_of(effect: float, sd: float, pairs: int, alpha: float, tests: int = 1) -> float:
    """The probability that a two-sided paired t-test finds a true difference `effect` on the right side.

    Args:
      effect: true mean of the paired difference; its sign does not matter.
      sd: standard deviation of the paired difference.
      pairs: seeds that both variants have, 2 or more.
      alpha: family-wise error rate.
      tests: comparisons of the study: the test is at `alpha / tests`, Holm's first and hardest step.
    """
    _check(sd, alpha, tests)
    if pairs < 2:
        raise UserError(f"pairs={pairs!r}: a paired test needs 2 or more")
    return _power(abs(effect) / sd, pairs, alpha / tests)


def seeds_needed(sd: float, effect: float, alpha: float, tests: int = 1, power: float = POWER) -> int | None:
    """The smallest number of pairs with which `power_of` reaches `power`; None if that is more than `MOST_SEEDS`.

    `TTestPower.solve_power` is not used here either, see `detectable_effect`.
    """
    _check(sd, alpha, tests)
    if not alpha < power < 1:
        raise UserError(f"power={power!r}: give a number between alpha={alpha} and 1, such as {POWER}")
    if not 0 < abs(effect) < math.inf:
        raise UserError(f"effect={effect!r}: give the difference that is to be found, not 0, in the metric's unit")

    def enough(pairs: int) -> bool:
        return _power(abs(effect) / sd, pairs, alpha / tests) >= power

    few, many = 1, 2  # enough(few) is false, in the end enough(many) is true: the power grows with the pairs
    while not enough(many):
        if many == MOST_SEEDS:
            return None
        few, many = many, min(2 * many, MOST_SEEDS)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def power_table(
    sd: float, alpha: float, tests: int = 1, effects: Sequence[float] | None = None, power: float = POWER
) -> list[PowerRow]:
    """How many seeds each effect needs; `effects` are in the metric's unit, multiples of `sd` if None."""
    effects = [sd * multiple for multiple in MULTIPLES] if effects is None else effects
    return [PowerRow(effect, abs(effect) / sd, seeds_needed(sd, effect, alpha, tests, power)) for effect in effects]


def paired_sd(values: Mapping[str, Mapping[int, float | None]], baseline: str) -> Noise:
    """The noise that decides how many seeds are needed: that of a paired difference to the baseline.

    It is pooled over the variants (root of the mean variance, weighted by degrees of freedom; a variant that is
    identical to the baseline, or differs by the same in every seed, says nothing of the noise and is left out). With
    no other variant, two independent samples with the baseline's noise are assumed: its sd times the root of 2,
    without what pairing gains. That is usually too many seeds rather than too few.

    Args:
      values: label -> seed -> value, None or non-finite where a run gave none.
    """
    found = [difference(each, values[baseline], 0.05) for label, each in values.items() if label != baseline]
    noisy = [each for each in found if each is not None and each.sd > 0]
    if noisy:
        dfs = [len(each.values) - 1 for each in noisy]
        sd = math.sqrt(np.average([each.sd**2 for each in noisy], weights=dfs))
        plural = "variant" if len(noisy) == 1 else "variants"
        return Noise(sd, sum(dfs), f"paired differences of {len(noisy)} {plural} to {baseline}")
    alone = describe(values[baseline])
    if alone.n < 2:
        return Noise(math.nan, 0, f"{baseline} has {alone.n} values: the noise is unknown")
    return Noise(alone.sd * math.sqrt(2), alone.n - 1, f"sd of {baseline} times √2: no gain from pairing is assumed")


def _power(in_sds: float, pairs: int, alpha: float) -> float:
    return float(TTestPower().power(in_sds, pairs, alpha / 2, alternative="larger"))


def _check(sd: float, alpha: float, tests: int) -> None:
    if not 0 < sd < math.inf:
        raise UserError(f"sd={sd!r}: give the standard deviation of the paired difference, above 0")
    if not 0 < alpha < 0.5:
        raise UserError(f"alpha={alpha!r}: give a number between 0 and 0.5, such as 0.05")
    if tests < 1:
        raise UserError(f"tests={tests!r}: give 1 or more")
