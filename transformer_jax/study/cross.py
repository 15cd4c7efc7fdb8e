"""`compare_studies`: two studies that were not planned together, side by side, and what forbids comparing them.

Variants are matched by their configs, equal but for the seed, or else by their labels. Where both were trained on the
same batches with the same seeds, differences are paired; elsewhere Welch's t-test compares two independent samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from transformer_jax import config as configs
from transformer_jax.errors import UserError
from transformer_jax.study import sides
from transformer_jax.study.sides import Fact, Side
from transformer_jax.study.stats import BETTER, SAME, UNTESTED, WORSE, Sample, describe
from transformer_jax.study.stats.family import holm
from transformer_jax.study.stats.paired import difference
from transformer_jax.study.stats.sample import finite

NOT_COMPARABLE = "not comparable"
PAIRED, WELCH = "paired t-test by seed", "Welch's t-test"


@dataclass(frozen=True)
class Test:
    """Of B minus A.

    Attributes:
      method: 'paired t-test by seed' or "Welch's t-test".
      mean: of the differences, or the difference of the means.
      low, high: its interval at 1 - alpha, for this comparison alone.
      p, p_corrected: two-sided; corrected over all tests of the comparison (Holm).
    """

    method: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_corrected: float = math.nan


@dataclass(frozen=True)
class Match:
    """One variant of A and one of B, on one metric.

    Attributes:
      a, b: their labels.
      by: 'config' (equal but for the seed) or 'label'.
      metric: which.
      samples: of A and of B.
      test: None where there is none.
      verdict: of B against A: 'better', 'worse', 'not distinguishable', 'not tested' or 'not comparable'.
      reasons: why there is no test, or what a reader of the verdict must know.
    """

    a: str
    b: str
    by: str
    metric: str
    samples: tuple[Sample, Sample]
    test: Test | None
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class CrossComparison:
    """What two studies say together.

    Attributes:
      a, b: the studies.
      alpha: the stricter of their two.
      facts: what is and what is not equal between them.
      matches: per metric and matched variant.
      differences: (label in A, label in B) -> 'key: value in A -> value in B'.
      only: labels of A, and of B, without a partner.
    """

    a: Side
    b: Side
    alpha: float
    facts: tuple[Fact, ...]
    matches: tuple[Match, ...]
    differences: dict[tuple[str, str], tuple[str, ...]]
    only: tuple[tuple[str, ...], tuple[str, ...]]


def compare_studies(dir_a: Path | str, dir_b: Path | str) -> CrossComparison:
    """Reads both study directories; writes nothing.

    Raises:
      UserError: if one holds no study or no finished run, or no variant of one has a partner in the other.
    """
    a, b = sides.read(dir_a, "A"), sides.read(dir_b, "B")
    pairs = _partners(a, b)
    if not pairs:
        raise UserError(
            f"no variant of {a.directory} has the config or the label of one in {b.directory}: "
            f"{', '.join(a.labels)} against {', '.join(b.labels)}"
        )
    alpha = min(a.declaration["alpha"], b.declaration["alpha"])
    directions = _directions(a, b)
    found = [_match(a, b, pair, metric, directions[metric], alpha) for metric in directions for pair in pairs]
    corrected = holm({i: match.test.p for i, match in enumerate(found) if match.test})
    judged = [_judged(match, corrected.get(i, math.nan), directions, alpha) for i, match in enumerate(found)]
    left = tuple(label for label in a.labels if label not in {pair[0] for pair in pairs})
    right = tuple(label for label in b.labels if label not in {pair[1] for pair in pairs})
    differing = {
        pair[:2]: tuple(configs.differences(a.config(pair[0]) | {"seed": 0}, b.config(pair[1]) | {"seed": 0}))
        for pair in pairs
    }
    return CrossComparison(a, b, alpha, sides.facts(a, b), tuple(judged), differing, (left, right))


def _partners(a: Side, b: Side) -> list[tuple[str, str, str]]:
    """(label in A, label in B, by what), each label once; equal configs come before equal labels."""
    free = list(b.labels)
    of_config = {b.key(label): label for label in reversed(b.labels)}
    found: dict[str, tuple[str, str, str]] = {}
    for label in a.labels:
        twin = of_config.get(a.key(label))
        if twin in free:
            free.remove(twin)
            found[label] = (label, twin, "config")
    for label in a.labels:
        if label not in found and label in free:
            free.remove(label)
            found[label] = (label, label, "label")
    return [found[label] for label in a.labels if label in found]


def _directions(a: Side, b: Side) -> dict[str, str | None]:
    """Every goal of either study that both have measured -> direction; None where they disagree."""
    both: dict[str, str | None] = {}
    for side in (a, b):
        for goal in (side.declaration, *side.declaration["also"]):
            metric = goal["metric"]
            same = both.get(metric, goal["direction"]) == goal["direction"]
            both[metric] = goal["direction"] if same else None
    return {metric: direction for metric, direction in both.items() if all(s.measured(metric) for s in (a, b))}


def _match(a: Side, b: Side, pair: tuple[str, str, str], metric: str, direction: str | None, alpha: float) -> Match:
    left, right, by = pair
    ours, theirs = b.values(right, metric), a.values(left, metric)
    samples = describe(theirs), describe(ours)
    blocks = sides.obstacles(a, left, b, right, metric) if min(sample.n for sample in samples) else []
    if direction is None:
        blocks.append(f"the studies disagree on whether less or more {metric} is better")
    if blocks:
        return Match(left, right, by, metric, samples, None, NOT_COMPARABLE, tuple(blocks))
    test, reasons = _test(a, left, b, right, finite(theirs), finite(ours), alpha)
    lost = []
    for side, sample in zip((a, b), samples, strict=True):
        if sample.lost:
            lost.append(f"{sample.lost} of {sample.n + sample.lost} runs of {side.name} gave no value")
    known = sides.caveats(a, left, b, right, metric)
    return Match(left, right, by, metric, samples, test, UNTESTED, (*reasons, *lost, *known))


def _test(
    a: Side, left: str, b: Side, right: str, theirs: dict[int, float], ours: dict[int, float], alpha: float
) -> tuple[Test | None, list[str]]:
    if not ours or not theirs:
        return None, ["no run gave a value"]
    mean = float(np.mean(list(ours.values())) - np.mean(list(theirs.values())))
    unlike = sides.other_batches(a, left, b, right)
    common = ours.keys() & theirs.keys()
    declared = sorted((set(side.declaration["seeds"]) for side in (a, b)), key=len)
    # As planned, whatever runs were lost: which test is made may not depend on how runs went.
    if not unlike and declared[0] <= declared[1] and len(common) >= 2:
        found = difference(ours, theirs, alpha)
        test = Test(PAIRED, found.mean, found.low, found.high, found.p)
        rest = sorted((ours.keys() | theirs.keys()) - common)
        said = [f"seeds with a value in one study only are left out: {', '.join(map(str, rest))}"] if rest else []
        if found.sd == 0:
            said.append("identical in every seed" if found.mean == 0 else "the same difference in every seed: no test")
        return test, said
    why = unlike or ["the seeds are not the same, or fewer than two have a value in both"]
    said = [f"not paired: {'; '.join(why)}"]
    if min(len(ours), len(theirs)) < 2:
        return Test(WELCH, mean), [*said, "one run only on a side: no estimate of its noise"]
    x, y = np.array(list(ours.values())), np.array(list(theirs.values()))
    rounding = 8 * np.finfo(float).eps * max(np.abs(x).max(), np.abs(y).max())
    if max(np.std(x, ddof=1), np.std(y, ddof=1)) <= rounding:
        return Test(WELCH, mean), [*said, "no variance on either side: no test"]
    found = stats.ttest_ind(x, y, equal_var=False)
    interval = found.confidence_interval(1 - alpha)
    return Test(WELCH, mean, float(interval.low), float(interval.high), float(found.pvalue)), said


def _judged(match: Match, p: float, directions: dict[str, str | None], alpha: float) -> Match:
    if match.test is None or math.isnan(p):
        return match
    less = directions[match.metric] == "min"
    verdict = SAME if p > alpha else BETTER if (match.test.mean < 0) == less else WORSE
    return replace(match, test=replace(match.test, p_corrected=p), verdict=verdict)


def tested(matches: Sequence[Match]) -> int:
    """How many tests Holm's correction runs over."""
    return sum(match.test is not None and not math.isnan(match.test.p) for match in matches)
