"""Diverged runs as an outcome of their own."""

import math

import pytest
from scipy import stats

from transformer_jax.errors import UserError
from transformer_jax.study.stats import diverged


def runs(text):
    """'x' diverged, '.' did not, '?' did not end."""
    return {seed: {"x": True, ".": False, "?": None}[each] for seed, each in enumerate(text)}


def test_shares_and_exact_intervals():
    found = {each.variant: each for each in diverged({"a": runs("....."), "b": runs("xx..x?"), "c": runs("xxx")}, "a")}
    assert (found["b"].runs, found["b"].diverged, found["b"].share) == (5, 3, 0.6)
    expected = stats.binomtest(3, 5).proportion_ci(0.95, method="exact")
    assert (found["b"].low, found["b"].high) == pytest.approx((expected.low, expected.high))
    # closed forms at the ends
    assert (found["a"].low, found["a"].high) == pytest.approx((0, 1 - 0.025 ** (1 / 5)))
    assert (found["c"].low, found["c"].high) == pytest.approx((0.025 ** (1 / 3), 1))


def test_level_of_the_interval():
    (found,) = diverged({"a": runs("....")}, "a", alpha=0.2)
    assert found.high == pytest.approx(1 - 0.1 ** (1 / 4))


def test_mcnemar_is_the_binomial_test_of_the_seeds_that_disagree():
    base, other = runs("....x.x...?"), runs("xxxx.xx.?xx")
    _, found = diverged({"a": base, "b": other}, "a")
    # seeds 0-3, 5, 9: only b; seed 4: only a
    assert found.p == pytest.approx(stats.binomtest(1, 7).pvalue) and found.pairs == 9
    _, turned = diverged({"b": other, "a": base}, "b")
    assert turned.p == pytest.approx(found.p)


def test_what_cannot_be_said_is_nan():
    base, agreed, gone, apart = diverged({"a": runs("..?"), "b": runs("..x"), "c": runs("???"), "d": {7: True}}, "a")
    assert math.isnan(base.p) and base.pairs == 0
    assert (agreed.p, agreed.pairs) == (1.0, 2)
    assert gone.runs == 0 and all(math.isnan(v) for v in (gone.share, gone.low, gone.high, gone.p))
    assert apart.share == 1.0 and math.isnan(apart.p)


def test_unknown_baseline():
    with pytest.raises(UserError, match="baseline='z'"):
        diverged({"a": runs(".")}, "z")
