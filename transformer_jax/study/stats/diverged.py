"""Diverged runs as an outcome of their own: the values of the others say nothing of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from transformer_jax.errors import UserError


@dataclass(frozen=True)
class Diverged:
    """How often one variant diverged.

    Attributes:
      variant: its label.
      runs: that came to an end, diverged ones included.
      diverged: how many of them.
      share: their share, NaN without a run.
      low, high: exact interval of the true share at 1 - alpha (Clopper and Pearson 1934), NaN without a run.
      p: of the exact McNemar test against the baseline over the seeds that came to an end in both. Uncorrected, in no
        family of tests, for information: with d seeds in which only one of the two diverged it is never below 2 / 2^d.
        NaN of the baseline itself, or without a pair.
      pairs: those seeds.
    """

    variant: str
    runs: int
    diverged: int
    share: float
    low: float
    high: float
    p: float
    pairs: int


def diverged(runs: Mapping[str, Mapping[int, bool | None]], baseline: str, alpha: float = 0.05) -> list[Diverged]:
    """Every variant, in the given order.

    Args:
      runs: label -> seed -> whether the run diverged; None if it did not come to an end, for whatever reason.
      baseline: one of the labels.
      alpha: one minus the level of the intervals.

    Raises:
      UserError: if the baseline is unknown.
    """
    if baseline not in runs:
        raise UserError(f"baseline={baseline!r} has no runs; have {', '.join(runs)}")
    return [_of(label, each, None if label == baseline else runs[baseline], alpha) for label, each in runs.items()]


def _of(label: str, runs: Mapping[int, bool | None], base: Mapping[int, bool | None] | None, alpha: float) -> Diverged:
    ended = [bool(each) for each in runs.values() if each is not None]
    count, total = sum(ended), len(ended)
    share = low = high = math.nan
    if total:
        share = count / total
        low, high = map(float, proportion_confint(count, total, alpha, method="beta"))
    pairs = [
        (bool(each), bool(base[seed]))
        for seed, each in runs.items()
        if base is not None and each is not None and base.get(seed) is not None
    ]
    p = math.nan
    if pairs:
        table = [[pairs.count((ours, theirs)) for theirs in (True, False)] for ours in (True, False)]
        p = float(mcnemar(table, exact=True).pvalue)
    return Diverged(label, total, count, share, low, high, p, len(pairs))
