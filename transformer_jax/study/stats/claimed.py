"""What becomes of a claim of the literature: its outcome, from the same comparison as every other verdict."""

import math
from dataclasses import dataclass

from transformer_jax.study.claims import EQUAL_TO, Claim
from transformer_jax.study.stats.comparison import (
    BETTER,
    EQUIVALENT,
    NOT_APPLICABLE,
    SAME,
    UNTESTED,
    WORSE,
    Comparison,
)
from transformer_jax.study.stats.paired import Difference

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
_OPPOSITE = {BETTER: WORSE, WORSE: BETTER}
_WORDS = {
    BETTER: "is better than",
    WORSE: "is worse than",
    EQUIVALENT: "is equivalent to",
    SAME: "cannot be told from",
}


@dataclass(frozen=True)
class ClaimResult:
    """A claim's outcome.

    Attributes:
      claim: what was claimed.
      metric: on which it was put to the test.
      outcome: 'confirmed', 'refuted' or 'undecided'.
      sentence: why, with the figures.
      difference: the claim's left variant minus its right one; None without a pair.
      comparison: that it was answered from; its `variant` and `baseline` say which way round it was made.
    """

    claim: Claim
    metric: str
    outcome: str
    sentence: str
    difference: Difference | None
    comparison: Comparison


def answer(
    claim: Claim, metric: str, comparison: Comparison, margin: float | None, alpha: float, p_beyond: float = math.nan
) -> ClaimResult:
    """The claim's outcome from the comparison of its two variants.

    'A > B' is confirmed if A is significantly better; refuted if it is significantly worse, or equivalent within the
    margin. 'A = B' is confirmed if the difference is shown to lie within the margin, also where it is significant;
    refuted if it is significant and shown to be larger than the margin (`p_beyond`, corrected over all such claims, at
    most `alpha`). All else is undecided: that no difference was found confirms nothing.
    """
    found, verdict = comparison.difference, comparison.verdict
    if comparison.variant != claim.left:
        found, verdict = found.flipped() if found else None, _OPPOSITE.get(verdict, verdict)
    if verdict in (UNTESTED, NOT_APPLICABLE):
        said = f"{claim.left} and {claim.right} were not compared on {metric} ({verdict}): {comparison.reason}."
        return ClaimResult(claim, metric, UNDECIDED, said, found, comparison)
    equal = _equal(verdict, comparison.within, p_beyond <= alpha)
    outcome = equal if claim.relation == EQUAL_TO else _BETTER[verdict]
    said = f"{claim.left} {_WORDS[verdict]} {claim.right}: {_figures(metric, found, comparison, alpha)}."
    said += _more(claim, outcome, found, verdict, comparison, margin)
    return ClaimResult(claim, metric, outcome, said, found, comparison)


_BETTER = {BETTER: CONFIRMED, WORSE: REFUTED, EQUIVALENT: REFUTED, SAME: UNDECIDED}


def _equal(verdict: str, within: bool, beyond: bool) -> str:
    if within:
        return CONFIRMED
    return REFUTED if verdict in (BETTER, WORSE) and beyond else UNDECIDED


def _more(
    claim: Claim, outcome: str, found: Difference, verdict: str, comparison: Comparison, margin: float | None
) -> str:
    """What else a reader needs in order to believe the outcome."""
    if found.sd == 0 and found.mean == 0:
        return " They are identical in every seed: without variance, equivalence cannot be tested."
    if comparison.within:
        shown = _p(comparison.p_equivalent)
        return f" The difference is shown to lie within the margin of ±{margin:g} (corrected p {shown})."
    if claim.relation == EQUAL_TO and verdict in (BETTER, WORSE):
        if outcome == REFUTED:
            return f" The difference is shown to be larger than the margin of ±{margin:g}."
        return f" Whether by more than the margin of ±{margin:g} is open."
    if claim.relation == EQUAL_TO:
        return f" That they differ by less than the margin of ±{margin:g} is not shown either."
    if verdict == SAME and comparison.reason:
        return f" The difference is {comparison.reason}."
    if verdict == SAME and not math.isnan(comparison.detectable):
        return f" A true difference below about {comparison.detectable:.2g} could well be missed."
    return ""


def _figures(metric: str, found: Difference, comparison: Comparison, alpha: float) -> str:
    interval = ""
    if not math.isnan(found.low):
        interval = f"{100 * (1 - alpha):g} % interval {_signed(found.low)} to {_signed(found.high)}, "
    pairs = f"{len(found.values)} pairs"
    return f"{metric} {_signed(found.mean)} ({interval}corrected p {_p(comparison.p_corrected)}, {pairs})"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if value else "0"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
