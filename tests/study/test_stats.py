import gc
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from transformer_jax.errors import UserError
from transformer_jax.study.stats import Measured, compare, compare_all, describe, detectable_effect


@pytest.fixture
def frozen_heap():
    """statsmodels' multipletests collects garbage in every call; without this the simulations take minutes."""
    gc.freeze()
    yield
    gc.unfreeze()


def seeds(values):
    return dict(enumerate(map(float, values)))


def draw(rng, variants, n, effect=0.0):
    shared = rng.normal(0, 1, n)
    return {f"v{i}": seeds(shared + rng.normal(effect if i == 1 else 0, 0.2, n)) for i in range(variants)}


def test_figures_are_scipys_and_statsmodels():
    values = draw(np.random.default_rng(0), 4, 6, effect=0.5)
    found = compare(values, "v0", alpha=0.1)
    tests = [stats.ttest_rel(list(values[f"v{i}"].values()), list(values["v0"].values())) for i in (1, 2, 3)]
    np.testing.assert_allclose([c.difference.p for c in found], [t.pvalue for t in tests])
    holm = multipletests([t.pvalue for t in tests], method="holm")[1]
    np.testing.assert_allclose([c.p_corrected for c in found], holm)
    for c, test in zip(found, tests, strict=True):
        interval = test.confidence_interval(0.9)
        assert (c.difference.low, c.difference.high) == (interval.low, interval.high)
        np.testing.assert_allclose(c.difference.mean, (interval.low + interval.high) / 2)
        power = TTestPower().power(c.detectable / c.difference.sd, 6, 0.1 / 3)
        np.testing.assert_allclose(power, 0.8, atol=1e-6)


@pytest.mark.parametrize(("pairs", "alpha"), [(2, 0.05), (2, 0.05 / 12), (3, 0.05 / 11), (5, 0.01), (30, 0.05)])
def test_detectable_effect_has_the_power_that_it_claims(pairs, alpha):
    """Against the power by numerical integration over chi-square, where statsmodels' own solver fails."""
    effect = detectable_effect(pairs, alpha)
    critical, df = stats.t.isf(alpha / 2, pairs - 1), pairs - 1
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    threshold = critical * np.sqrt(stats.chi2.ppf(quantiles, df) / df)
    power = np.mean(stats.norm.cdf(effect * math.sqrt(pairs) - threshold))
    assert power == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("direction", "word"), [("min", "worse"), ("max", "better")])
def test_a_planted_difference_is_found_with_its_direction(direction, word):
    values = draw(np.random.default_rng(1), 5, 5, effect=3.0)
    verdicts = {c.variant: c.verdict for c in compare(values, "v0", direction)}
    assert verdicts == {"v1": word, **dict.fromkeys(("v2", "v3", "v4"), "not distinguishable")}


def test_a_study_of_equal_variants_is_called_different_no_more_often_than_alpha(frozen_heap):
    rng, studies, alpha = np.random.default_rng(2), 500, 0.05
    false = sum(
        any(c.verdict != "not distinguishable" for c in compare(draw(rng, 5, 3), "v0", alpha=alpha))
        for _ in range(studies)
    )
    assert false <= stats.binom.ppf(0.999, studies, alpha)
    assert false > 0  # a procedure that never finds anything would pass too


def test_power_is_reached_at_the_detectable_effect(frozen_heap):
    rng, n = np.random.default_rng(3), 4
    effect = detectable_effect(n, 0.05)
    hits = sum(
        compare({"a": seeds(np.zeros(n)), "b": seeds(rng.normal(effect, 1, n))}, "a")[0].verdict == "worse"
        for _ in range(400)
    )
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.8)
    assert low <= hits <= high


def test_lost_runs_are_counted_and_pairs_are_by_seed():
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 1.5, 1: math.nan, 2: 3.6}, "c": {0: None, 1: 2.0, 2: math.inf}}
    b, c = compare(values, "a")
    assert (b.sample.n, b.sample.lost) == (2, 1) and list(b.difference.values) == [0, 2]
    assert (c.verdict, c.reason) == ("not tested", "one pair only: a paired test needs two")
    assert c.difference.mean == 0.0 and math.isnan(c.p_corrected)


def test_what_cannot_be_tested_says_why_and_does_not_count_in_the_correction():
    base = seeds([1.0, 1.1, 1.3])
    values = {
        "a": base,
        "same": dict(base),
        "shifted": {s: v + 0.1 for s, v in base.items()},
        "gone": dict.fromkeys(base),
        "worse": seeds([2.0, 2.12, 2.29]),
    }
    same, shifted, gone, worse = compare(values, "a")
    assert (same.verdict, same.p_corrected) == ("not distinguishable", 1.0) and "identical" in same.reason
    assert shifted.verdict == "not tested" and "without variance" in shifted.reason
    assert shifted.difference.mean == pytest.approx(0.1)
    assert (gone.verdict, gone.reason, gone.difference) == ("not tested", "no run gave a value", None)
    assert worse.verdict == "worse" and worse.p_corrected == pytest.approx(2 * worse.difference.p)


def test_holm_runs_over_all_metrics_and_leaves_out_what_does_not_apply():
    rng = np.random.default_rng(4)
    first, second = draw(rng, 3, 5, effect=0.2), draw(rng, 4, 5, effect=0.2)
    second["v3"] = dict.fromkeys(second["v3"])
    found = compare_all([Measured(first), Measured(second, "max", {"v3": "too long"})], "v0")
    assert [[c.variant for c in each] for each in found] == [["v1", "v2"], ["v1", "v2", "v3"]]
    alone = [*compare(first, "v0"), *compare({k: second[k] for k in ("v0", "v1", "v2")}, "v0")]
    together = [*found[0], *found[1][:2]]
    holm = multipletests([c.difference.p for c in alone], method="holm")[1]
    np.testing.assert_allclose([c.p_corrected for c in together], holm)
    assert together[0].detectable == pytest.approx(together[0].difference.sd * detectable_effect(5, 0.05 / 4))
    last = found[1][2]
    assert (last.verdict, last.reason, last.difference) == ("not applicable", "too long", None)
    assert math.isnan(last.p_corrected)


def test_one_run_without_the_metric_is_enough_not_to_compare():
    values = {"a": seeds([1, 2, 3]), "b": seeds([1.5, 2.1, 3.3])}
    ((b,),) = compare_all([Measured(values, "min", {"b": "too long"})], "a")
    assert b.verdict == "not applicable" and b.difference is None
    with pytest.raises(UserError, match="does not apply to baseline='a': too long"):
        compare_all([Measured(values, "min", {"a": "too long"})], "a")


def test_describe():
    sample = describe({0: 1.0, 1: 3.0, 2: None})
    assert (sample.n, sample.lost, sample.mean) == (2, 1, 2.0) and sample.sd == pytest.approx(math.sqrt(2))
    assert math.isnan(describe({0: None}).mean) and math.isnan(describe({0: 1.0}).sd)


def test_bad_arguments():
    with pytest.raises(UserError, match="baseline='z'"):
        compare({"a": {0: 1.0}}, "z")
    with pytest.raises(UserError, match="direction='up'"):
        compare({"a": {0: 1.0}}, "a", "up")
