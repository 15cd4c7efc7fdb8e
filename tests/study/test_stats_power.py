"""Plans: how many seeds an effect needs."""

import math

import numpy as np
import pytest
from scipy import stats

from transformer_jax.errors import UserError
from transformer_jax.study.stats import (
    MOST_SEEDS,
    detectable_effect,
    paired_sd,
    power_of,
    power_table,
    seeds_needed,
)


# Tables of Cohen (1988) and G*Power: a two-sided paired t-test at 0.05.
@pytest.mark.parametrize(
    ("in_sds", "power", "pairs"), [(0.2, 0.8, 199), (0.5, 0.8, 34), (0.8, 0.8, 15), (0.5, 0.9, 44)]
)
def test_seeds_needed_is_the_textbooks(in_sds, power, pairs):
    assert seeds_needed(0.3, 0.3 * in_sds, 0.05, power=power) == pairs
    assert seeds_needed(0.3, -0.3 * in_sds, 0.05, power=power) == pairs


@pytest.mark.parametrize(("sd", "effect", "tests"), [(1.0, 0.7, 1), (0.02, 0.05, 6), (3.0, 30.0, 40), (1.0, 0.1, 3)])
def test_seeds_needed_is_the_smallest_number(sd, effect, tests):
    pairs = seeds_needed(sd, effect, 0.05, tests)
    assert power_of(effect, sd, pairs, 0.05, tests) >= 0.8
    assert pairs == 2 or power_of(effect, sd, pairs - 1, 0.05, tests) < 0.8


@pytest.mark.parametrize("pairs", [2, 3, 7, 30])
def test_the_detectable_effect_needs_as_many_seeds_as_it_was_found_with(pairs):
    effect = detectable_effect(pairs, 0.05 / 4)
    assert seeds_needed(0.2, 0.2 * effect * 1.0001, 0.05, 4) == pairs
    assert seeds_needed(0.2, 0.2 * effect * 0.9999, 0.05, 4) == pairs + 1
    assert power_of(0.2 * effect, 0.2, pairs, 0.05, 4) == pytest.approx(0.8, abs=1e-6)


def test_power_is_that_of_the_noncentral_t_distribution():
    critical = stats.t.isf(0.05 / 3 / 2, 4)
    expected = stats.nct.sf(critical, 4, 1.5 * math.sqrt(5))
    assert power_of(-0.3, 0.2, 5, 0.05, 3) == pytest.approx(expected)


def test_the_planned_power_is_seen():
    rng, cases = np.random.default_rng(0), 4000
    pairs = seeds_needed(1.0, 1.2, 0.05)
    p = stats.ttest_1samp(rng.normal(1.2, 1, (cases, pairs)), 0, axis=1).pvalue
    low, high = stats.binom.ppf([0.001, 0.999], cases, power_of(1.2, 1.0, pairs, 0.05))
    assert low <= np.sum(p <= 0.05) <= high


def test_an_effect_that_no_plan_reaches():
    assert seeds_needed(1.0, 1e-4, 0.05) is None
    edge = detectable_effect(MOST_SEEDS, 0.05)
    assert seeds_needed(1.0, edge * 1.0001, 0.05) in (MOST_SEEDS, MOST_SEEDS - 1)
    assert seeds_needed(1.0, edge * 0.9999, 0.05) is None


def test_effects_too_large_to_compute_are_no_error():
    assert math.isnan(detectable_effect(2, 1e-6))
    assert seeds_needed(1e-6, 1.0, 1e-5) <= 3  # the power at 2 pairs is not computable


def test_power_table():
    rows = power_table(0.5, 0.05, 2)
    assert [row.effect for row in rows] == [0.5 * row.in_sds for row in rows]
    assert [row.seeds for row in rows] == sorted((row.seeds for row in rows), reverse=True)
    (row,) = power_table(0.5, 0.05, 2, effects=[-0.25])
    assert (row.effect, row.in_sds, row.seeds) == (-0.25, 0.5, seeds_needed(0.5, 0.25, 0.05, 2))


def seeds(values):
    return dict(enumerate(map(float, values)))


def test_paired_sd_is_pooled_over_variants():
    rng = np.random.default_rng(0)
    shared, noise = rng.normal(0, 5, 6), rng.normal(0, 0.3, (2, 6))
    values = {"a": seeds(shared), "b": seeds(shared + 1 + noise[0]), "c": seeds(shared + noise[1])}
    values["c"][5] = None
    found = paired_sd(values, "a")
    squares = [((each - each.mean()) ** 2).sum() for each in (noise[0], noise[1][:5])]
    assert found.sd == pytest.approx(math.sqrt(sum(squares) / 9)) and found.df == 9
    assert "2 variants" in found.source
    # the same and the shifted tell nothing of the noise
    assert paired_sd(values | {"same": values["a"], "gone": dict.fromkeys(range(6))}, "a") == found


def test_paired_sd_from_the_baseline_alone():
    found = paired_sd({"a": seeds([1, 2, 4]), "b": {0: 3.0}}, "a")
    assert found.sd == pytest.approx(np.std([1, 2, 4], ddof=1) * math.sqrt(2)) and found.df == 2
    assert "no gain from pairing" in found.source
    assert math.isnan(paired_sd({"a": {0: 1.0, 1: None}}, "a").sd)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sd": 0.0}, "sd=0.0"),
        ({"sd": math.nan}, "sd=nan"),
        ({"effect": 0.0}, "effect=0.0"),
        ({"alpha": 0.7}, "alpha=0.7"),
        ({"tests": 0}, "tests=0"),
        ({"power": 0.01}, "power=0.01"),
    ],
)
def test_what_cannot_be_planned(change, message):
    with pytest.raises(UserError, match=message):
        seeds_needed(**({"sd": 1.0, "effect": 1.0, "alpha": 0.05} | change))
    with pytest.raises(UserError, match="pairs=1"):
        power_of(1.0, 1.0, 1, 0.05)
