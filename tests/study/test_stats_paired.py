"""One paired difference: its intervals, its permutation test, its equivalence test."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from transformer_jax.study.stats import compare
from transformer_jax.study.stats.paired import (
    EXACT_PAIRS,
    difference,
    equivalence_p,
    sign_flip_p,
    sign_flip_pairs,
    smallest_sign_flip_p,
)

# Extra hours of sleep of ten patients on two drugs (Student 1908): t = 4.0621, p = 0.002833, interval 0.7001 to 2.4599.
SLEEP = ([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4], [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
# Heights of crossed minus self-fertilised maize in eighths of an inch (Darwin 1876). Fisher (1935, section 21) counts
# 1726 of the 32768 assignments of signs that are as extreme.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def seeds(values):
    return dict(enumerate(map(float, values)))


def sign_flips(values):
    return sign_flip_p(np.asarray(values, float), np.zeros(len(values)))


def of(values, alpha=0.05):
    return difference(seeds(values), seeds(np.zeros(len(values))), alpha)


def enumerated(values):
    """The sign-flip test by hand, on whole numbers."""
    totals = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(abs(total) >= abs(sum(values)) for total in totals) / len(totals)


def test_students_sleep_data():
    found = difference(seeds(SLEEP[0]), seeds(SLEEP[1]), 0.05)
    assert found.mean == pytest.approx(1.58) and found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.p_sign_flip == 4 / 2**10  # no difference is below 0, and one is 0: its sign does not matter
    assert found.low < found.boot_low < found.mean < found.boot_high < found.high


def test_fishers_maize_is_sampled_beyond_the_exact_limit():
    assert len(MAIZE) > EXACT_PAIRS
    assert sign_flips(np.array(MAIZE, float)) == pytest.approx(1726 / 32768, abs=0.006)  # 4 standard errors
    assert sign_flips(np.array(MAIZE, float)) == sign_flips(np.array(MAIZE, float))


@pytest.mark.parametrize("n", [2, 3, 5, 8, 11])
def test_sign_flip_p_is_the_enumerated_one_for_tied_values(n):
    """Sums of tenths and the like differ in their last bit, and must be counted as ties."""
    rng = np.random.default_rng(n)
    for scale in (0.1, 1e-3, 0.7, 1e5 / 3, 1e-9):
        whole = [int(v) for v in rng.integers(-40, 45, n)]
        p = sign_flips(np.array(whole) * scale)
        assert p == pytest.approx(enumerated(whole), abs=1e-12)
        assert (p * 2**n / 2) == pytest.approx(round(p * 2**n / 2)) and p >= smallest_sign_flip_p(n)
        assert sign_flips(-scale * np.array(whole)) == pytest.approx(p, abs=1e-12)
        high = 1000 * scale  # the rounding errors of a difference are those of the metric
        assert sign_flip_p(high + np.array(whole) * scale, np.full(n, high)) == pytest.approx(p, abs=1e-12)


def test_sums_of_zero_are_ties():
    tenths = np.array([2, 4, -4, -1, 1, 0, -1, -1]) * 0.1
    assert tenths.mean() != 0 and sign_flips(tenths) == 1.0


def test_the_smallest_sign_flip_p_is_reached():
    for n in (2, 6, EXACT_PAIRS, EXACT_PAIRS + 1, 20):
        assert sign_flips(np.linspace(1, 2, n)) == pytest.approx(smallest_sign_flip_p(n), rel=1e-12)


def test_pairs_that_the_sign_flip_test_needs():
    for level in (0.05, 0.01, 0.05 / 12):
        assert sign_flip_pairs(level) == math.ceil(1 + math.log2(1 / level))
    assert sign_flip_pairs(0.05) == 6
    assert sign_flip_pairs(1.2e-4) == EXACT_PAIRS + 1  # 2 / 20001, and 2 / 2^14 does not do
    assert sign_flip_pairs(1e-5) is None


def test_sign_flip_holds_its_level_on_skewed_noise_and_uses_it():
    """Differences of two exponential values with spreads that change from pair to pair, 6 pairs at 2 / 64."""
    rng, cases = np.random.default_rng(0), 1500
    spreads = np.array([1, 1, 2, 5, 10, 40.0])
    drawn = (rng.exponential(size=(cases, 6)) - rng.exponential(size=(cases, 6))) * spreads
    false = sum(sign_flips(each) <= 2 / 64 for each in drawn)
    low, high = stats.binom.ppf([0.001, 0.999], cases, 2 / 64)
    assert low <= false <= high


def test_bootstrap_interval_is_numpys_percentiles():
    values = np.random.default_rng(5).gamma(1.0, 1.0, 12)
    found = of(values, alpha=0.1)
    resampled = np.random.default_rng(6).choice(values, (50_000, 12)).mean(axis=1)
    expected = np.percentile(resampled, [5, 95])
    assert (found.boot_low, found.boot_high) == pytest.approx(expected, abs=0.02 * values.std())
    assert of(values, alpha=0.1) == found  # the same in every report


def test_bootstrap_needs_three_pairs():
    assert math.isnan(of([1.0, 2.0]).boot_low) and math.isnan(of([1.0, 2.0]).boot_high)
    assert of([1.0, 2.0, 4.0]).boot_low < of([1.0, 2.0, 4.0]).boot_high


def test_flipped_is_the_difference_the_other_way_round():
    one, other = seeds(SLEEP[0]), seeds(SLEEP[1])
    there, back = difference(one, other, 0.05).flipped(), difference(other, one, 0.05)
    for name in ("mean", "sd", "low", "high", "p", "p_sign_flip"):
        assert getattr(there, name) == pytest.approx(getattr(back, name)), name
    assert there.values == back.values
    assert (there.boot_low, there.boot_high) == pytest.approx((back.boot_low, back.boot_high), abs=0.05)


def test_equivalence_p_is_the_larger_of_two_one_sided_ones():
    values = np.random.default_rng(1).normal(0.1, 0.3, 8)
    below = stats.ttest_1samp(values, -0.4, alternative="greater").pvalue
    above = stats.ttest_1samp(values, 0.4, alternative="less").pvalue
    assert equivalence_p(of(values), 0.4) == pytest.approx(max(below, above))
    # it is at most alpha exactly if the 1 - 2 alpha interval lies within the margin
    low, high = (float(end) for end in stats.ttest_1samp(values, 0).confidence_interval(0.9))
    widest = max(-low, high)
    assert equivalence_p(of(values), widest * 1.001) <= 0.05 < equivalence_p(of(values), widest * 0.999)


def test_equivalence_is_falsely_found_no_more_often_than_alpha_at_the_margin():
    rng, cases, margin = np.random.default_rng(2), 600, 3.0
    false = sum(equivalence_p(of(rng.normal(margin, 1, 6)), margin) <= 0.05 for _ in range(cases))
    low, high = stats.binom.ppf([0.001, 0.999], cases, 0.05)
    assert low <= false <= high  # with so wide a margin the other bound costs nothing: the size is alpha itself


def test_equivalence_is_found_where_the_difference_is_small():
    rng = np.random.default_rng(3)
    found = sum(equivalence_p(of(rng.normal(0, 1, 6)), 3.0) <= 0.05 for _ in range(100))
    assert found > 95


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0]])
def test_without_variance_there_is_no_equivalence_test(values):
    assert math.isnan(equivalence_p(of(values), 1.0))


def test_degenerate_differences():
    assert of([]) is None and difference({0: 1.0}, {1: 1.0}, 0.05) is None
    one = of([2.0])
    assert one.mean == 2.0 and all(math.isnan(v) for v in (one.sd, one.p, one.low, one.boot_low, one.p_sign_flip))
    same = of([0.0] * 4)
    assert (same.p, same.p_sign_flip, same.sd, same.low, same.boot_high) == (1.0, 1.0, 0.0, 0.0, 0.0)
    shifted = of([0.5] * 6)  # signs need no variance
    assert shifted.p_sign_flip == 2 / 64 and shifted.sd == 0 and math.isnan(shifted.p)
    two = of([1.0, 1.5])
    assert two.p_sign_flip == 0.5 and 0 < two.p < 1


def test_signs_of_rounding_errors_are_no_signs():
    base = np.linspace(1, 2, 6)
    found = difference(seeds(base * (1 + 2**-52)), seeds(base), 0.05)
    assert 0 < found.mean < 1e-15 and math.isnan(found.p_sign_flip) and math.isnan(found.p)
    (verdict,) = compare({"a": seeds(base), "b": seeds(base * (1 + 2**-52))}, "a")
    assert verdict.verdict == "not tested"
