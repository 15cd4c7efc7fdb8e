"""The verdict on one variant against another."""

import math
from dataclasses import dataclass

from transformer_jax.study.stats.paired import Difference, sign_flip_pairs, smallest_sign_flip_p
from transformer_jax.study.stats.power import detectable_effect
from transformer_jax.study.stats.sample import Measured, Sample, describe

BETTER, WORSE, SAME, UNTESTED = "better", "worse", "not distinguishable", "not tested"
EQUIVALENT, NOT_APPLICABLE = "equivalent", "not applicable"
DECIDING = {"t": "p", "sign_flip": "p_sign_flip"}  # test -> attribute of Difference


@dataclass(frozen=True)
class Comparison:
    """One variant against another, usually the baseline, on one metric.

    Attributes:
      variant: its label.
      sample: its own values.
      difference: paired difference, variant minus baseline; None without a pair.
      p_corrected: of the deciding test, Holm-corrected over all comparisons of the study, on all its metrics, that
        could be tested; NaN if untested.
      detectable: the smallest true difference that the study would have found with 80 % power, in the metric's unit,
        as the t-test's power is; NaN if unknown, or if the deciding test has too few pairs to find any.
      verdict: 'better', 'worse', 'equivalent', 'not distinguishable', 'not tested' or 'not applicable'. 'equivalent':
        no difference was found, and it was shown to lie within the margin.
      reason: why it was not tested or does not apply; of a tested one what else is to be said, as the end of a
        sentence that begins with 'It is'; else empty.
      baseline: the label that it is compared with.
      p_equivalent: of the equivalence test, Holm-corrected over all of them; NaN if none was asked for or possible.
      within: whether the difference is shown to lie within the margin. A 'better' or 'worse' variant may be so too:
        then the difference is real, and too small to matter.
    """

    variant: str
    sample: Sample
    difference: Difference | None
    p_corrected: float
    detectable: float
    verdict: str
    reason: str
    baseline: str
    p_equivalent: float = math.nan
    within: bool = False


@dataclass(frozen=True)
class Rules:
    """What every comparison of a study is decided by: the error rate, the test, and how many tests there are."""

    alpha: float
    test: str
    tests: int


def conclude(
    metric: Measured,
    pair: tuple[str, str],
    found: Difference | None,
    p: float,
    p_equivalent: float,
    rules: Rules,
    other: str,
) -> Comparison:
    """The comparison of a pair of labels from its difference and its corrected p-values; `other` is what sentences
    call the second one."""
    sample = describe(metric.values[pair[0]])
    absent = [metric.not_applicable[label] for label in pair if label in metric.not_applicable]
    if absent:
        return Comparison(pair[0], sample, None, math.nan, math.nan, NOT_APPLICABLE, absent[0], pair[1])
    within, verdict = p_equivalent <= rules.alpha, UNTESTED
    if p <= rules.alpha:
        verdict = BETTER if (found.mean < 0) == (metric.direction == "min") else WORSE
    elif not math.isnan(p):
        verdict = EQUIVALENT if within else SAME
    reachable = not math.isnan(p) and _reachable(found, rules)
    detectable = math.nan
    if reachable and found.sd > 0:
        detectable = found.sd * detectable_effect(len(found.values), rules.alpha / rules.tests)
    if verdict == UNTESTED:
        reason = _untested(sample, found, other)
    elif found.sd == 0 and found.mean == 0:
        reason = f"identical to {other} in every seed"
    elif within:
        reason = f"within the margin of ±{metric.margin:g}"
    else:
        reason = "" if reachable or verdict != SAME else _out_of_reach(rules)
    return Comparison(pair[0], sample, found, p, detectable, verdict, reason, pair[1], p_equivalent, within)


def _reachable(found: Difference, rules: Rules) -> bool:
    """Whether any values of as many seeds could pass Holm's first step."""
    return rules.test == "t" or smallest_sign_flip_p(len(found.values)) <= rules.alpha / rules.tests


def _out_of_reach(rules: Rules) -> str:
    needed, tests = sign_flip_pairs(rules.alpha / rules.tests), f"{rules.tests} test{'s' * (rules.tests > 1)}"
    if needed is None:
        return f"out of reach of the sign-flip test, which cannot decide {tests} with any number of seeds"
    return f"out of reach of the sign-flip test, which needs {needed} seeds for {tests}"


def _untested(sample: Sample, found: Difference | None, other: str) -> str:
    if sample.n == 0:
        return "no run gave a value"
    if found is None:
        return f"no seed has a value for both this variant and {other}"
    if len(found.values) < 2:
        return "one pair only: a paired test needs two"
    return "the difference is the same in every seed: without variance there is no test"
