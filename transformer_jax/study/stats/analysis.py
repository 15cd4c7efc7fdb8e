"""A whole study's comparisons and claims, decided together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transformer_jax.errors import UserError, nearest
from transformer_jax.study.claims import EQUAL_TO, Claim
from transformer_jax.study.stats.claimed import ClaimResult, answer
from transformer_jax.study.stats.comparison import DECIDING, Comparison, Rules, conclude
from transformer_jax.study.stats.family import holm
from transformer_jax.study.stats.paired import Difference, beyond_p, difference, equivalence_p
from transformer_jax.study.stats.sample import Measured, describe

Key = tuple[int, str, str]  # index of the metric, label, label that it is compared with


@dataclass(frozen=True)
class Analysis:
    """What a study found.

    Attributes:
      comparisons: of each metric, every variant but the baseline against it, in the given order.
      direct: of each metric, the pairs that only claims ask for: the claim's left variant against its right one.
      claims: their outcomes, in the given order.
      n_tests: how many comparisons could be tested; Holm's correction runs over these.
      n_equivalence: how many of them were tested for equivalence; Holm's correction runs over these by itself.
    """

    comparisons: list[list[Comparison]]
    direct: list[list[Comparison]]
    claims: list[ClaimResult]
    n_tests: int
    n_equivalence: int


def analyse(
    metrics: Sequence[Measured],
    baseline: str,
    alpha: float = 0.05,
    *,
    test: str = "t",
    claims: Sequence[Claim] = (),
    names: Sequence[str] = (),
) -> Analysis:
    """All comparisons and claims of a study.

    A verdict 'better' or 'worse' needs a p-value of at most `alpha` after Holm's correction, which runs over the
    tests of all metrics and of the pairs that claims ask for together: the chance that any of these verdicts is false
    is at most `alpha` in a whole study. The equivalence tests, of all metrics with a margin, are a family of their
    own with the same error rate, and so are the refutations of claims that two variants are equal. What could not be
    tested, or does not apply, is no test and does not count. The smallest detectable effect is that of the paired
    t-test at Holm's first and hardest step, `alpha` over the number of tests.

    Args:
      baseline: one of the labels.
      alpha: family-wise error rate, and one minus the level of the intervals.
      test: which p-value decides: 't', the paired t-test's, or 'sign_flip', the permutation test's.
      claims: to be answered. A claim about the baseline takes its comparison; another pair gets one of its own.
      names: of the metrics, in their order; needed for claims.

    Raises:
      UserError: if the baseline, a direction, a margin, the test, or what a claim names is unknown or does not fit,
        or a metric does not apply to the baseline.
    """
    if test not in DECIDING:
        raise UserError(f"test={test!r}{nearest(test, DECIDING)}: give one of {', '.join(DECIDING)}")
    for metric in metrics:
        _check(metric, baseline)
    planned: list[Key] = [
        (i, label, baseline) for i, metric in enumerate(metrics) for label in metric.values if label != baseline
    ]
    asked: list[Key] = []
    for claim in claims:
        i = _metric_of(claim, metrics, names)
        turned = (i, claim.right, claim.left)
        # Claims about the same pair, either way round, share one test.
        asked.append(turned if claim.left == baseline or turned in asked else (i, claim.left, claim.right))
    keys = list(dict.fromkeys([*planned, *asked]))
    found = {key: _found(metrics, key, alpha) for key in keys}
    raw = {key: getattr(each, DECIDING[test]) if each else math.nan for key, each in found.items()}
    outside = {key: _outside(metrics, key, each) for key, each in found.items()}
    p, p_equivalent = holm(raw), holm(outside)
    rules = Rules(alpha, test, _tests(raw))
    made = {
        key: conclude(
            metrics[key[0]],
            key[1:],
            found[key],
            p[key],
            p_equivalent[key],
            rules,
            "the baseline" if key[2] == baseline else key[2],
        )
        for key in keys
    }
    split = [[], []]
    for some, mine in zip(split, (planned, keys[len(planned) :]), strict=True):
        some += [[made[key] for key in mine if key[0] == i] for i in range(len(metrics))]
    answers = _answers(list(zip(claims, asked, strict=True)), metrics, names, found, made, alpha)
    return Analysis(*split, answers, rules.tests, _tests(outside))


def compare(
    values_by_variant: Mapping[str, Mapping[int, float | None]],
    baseline: str,
    direction: str = "min",
    alpha: float = 0.05,
) -> list[Comparison]:
    """`compare_all` of one metric."""
    return compare_all([Measured(values_by_variant, direction)], baseline, alpha)[0]


def compare_all(metrics: Sequence[Measured], baseline: str, alpha: float = 0.05) -> list[list[Comparison]]:
    """The comparisons of `analyse`, by the t-test, without claims."""
    return analyse(metrics, baseline, alpha).comparisons


def _check(metric: Measured, baseline: str) -> None:
    if baseline not in metric.values:
        raise UserError(f"baseline={baseline!r} has no values; have {', '.join(metric.values)}")
    if metric.direction not in ("min", "max"):
        raise UserError(f"direction={metric.direction!r}: give 'min' or 'max'")
    if metric.margin is not None and not 0 < metric.margin < math.inf:
        raise UserError(f"margin={metric.margin!r}: give a number above 0, in the metric's unit, or None")
    if baseline in metric.not_applicable:
        raise UserError(f"the metric does not apply to baseline={baseline!r}: {metric.not_applicable[baseline]}")


def _metric_of(claim: Claim, metrics: Sequence[Measured], names: Sequence[str]) -> int:
    """Which of the metrics a claim is about."""
    metric = claim.metric or next(iter(names), None)
    if len(names) != len(metrics) or metric not in names:
        near = nearest(str(metric), names)
        raise UserError(f"claim {str(claim)!r}: metric={metric!r} is not measured{near}; have {', '.join(names)}")
    found = metrics[list(names).index(metric)]
    for label in (claim.left, claim.right):
        if label not in found.values:
            near, have = nearest(label, found.values), ", ".join(found.values)
            raise UserError(f"claim {str(claim)!r}: {label!r} has no values{near}; have {have}")
    if claim.left == claim.right:
        raise UserError(f"claim {str(claim)!r}: give two different variants")
    if claim.relation == EQUAL_TO and found.margin is None:
        raise UserError(f"claim {str(claim)!r}: {metric!r} has no margin, so nothing can be equal on it")
    return list(names).index(metric)


def _found(metrics: Sequence[Measured], key: Key, alpha: float) -> Difference | None:
    metric, ours, theirs = metrics[key[0]], *key[1:]
    if {ours, theirs} & metric.not_applicable.keys():
        return None
    return difference(metric.values[ours], metric.values[theirs], alpha)


def _outside(metrics: Sequence[Measured], key: Key, found: Difference | None) -> float:
    margin = metrics[key[0]].margin
    return math.nan if margin is None or found is None else equivalence_p(found, margin)


def _answers(
    asked: Sequence[tuple[Claim, Key]],
    metrics: Sequence[Measured],
    names: Sequence[str],
    found: Mapping[Key, Difference | None],
    made: Mapping[Key, Comparison],
    alpha: float,
) -> list[ClaimResult]:
    """The claims' outcomes, each from the comparison of its key."""
    equal = [key for claim, key in asked if claim.relation == EQUAL_TO]
    beyond = holm({key: beyond_p(found[key], metrics[key[0]].margin) if found[key] else math.nan for key in equal})
    answers = []
    for claim, key in asked:
        metric = metrics[key[0]]
        said = answer(claim, names[key[0]], made[key], metric.margin, alpha, beyond.get(key, math.nan))
        lost = _lost(metric, key[1:]) if found[key] else ""
        answers.append(replace(said, sentence=said.sentence + lost))
    return answers


def _lost(metric: Measured, labels: Sequence[str]) -> str:
    """Which of two variants have runs without a value: what is said holds for the others only."""
    samples = {label: describe(metric.values[label]) for label in labels}
    told = [f"{s.lost} of {s.n + s.lost} runs of {label}" for label, s in samples.items() if s.lost]
    return f" {' and '.join(told)} gave no value; the figures are over the others." if told else ""


def _tests(p: Mapping[Key, float]) -> int:
    return sum(not math.isnan(value) for value in p.values())
