"""A study's comparisons decided together: the test that decides, the family, equivalence."""

import gc
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from transformer_jax.errors import UserError
from transformer_jax.study.claims import claim
from transformer_jax.study.stats import Measured, analyse, compare_all, detectable_effect


@pytest.fixture
def frozen_heap():
    """statsmodels' multipletests collects garbage in every call; without this the simulations take minutes."""
    gc.freeze()
    yield
    gc.unfreeze()


def seeds(values):
    return dict(enumerate(map(float, values)))


def draw(rng, variants, n, *effects, sd=0.2):
    shared, effects = rng.normal(0, 1, n), [*effects, *[0.0] * variants]
    return {f"v{i}": seeds(shared + rng.normal(effects[i], sd, n)) for i in range(variants)}


def array(values, label):
    return np.array(list(values[label].values()))


def test_pairs_that_claims_ask_for_join_the_family_once():
    values = draw(np.random.default_rng(0), 4, 6, 0.0, 0.3, 0.6, 0.1)
    asked = [claim(text, source="x") for text in ("v1 > v2", "v0 > v3", "v2 > v1", "v3 > v0", "v1 > v3")]
    found = analyse([Measured(values)], "v0", claims=asked, names=["loss"])
    pairs = [("v1", "v0"), ("v2", "v0"), ("v3", "v0"), ("v1", "v2"), ("v1", "v3")]
    made = [*found.comparisons[0], *found.direct[0]]
    assert [(c.variant, c.baseline) for c in made] == pairs
    assert found.n_tests == 5 and found.n_equivalence == 0
    p = [stats.ttest_rel(array(values, a), array(values, b)).pvalue for a, b in pairs]
    np.testing.assert_allclose([c.p_corrected for c in made], multipletests(p, method="holm")[1])
    assert made[0].detectable == pytest.approx(made[0].difference.sd * detectable_effect(6, 0.05 / 5))
    # without the direct pairs the same comparisons are corrected for three tests only
    alone = compare_all([Measured(values)], "v0")[0]
    np.testing.assert_allclose([c.p_corrected for c in alone], multipletests(p[:3], method="holm")[1])


def test_the_sign_flip_test_decides_if_it_is_asked_to():
    values = draw(np.random.default_rng(1), 3, 8, 0.0, 5.0)
    by_t, by_signs = (analyse([Measured(values)], "v0", test=test).comparisons[0] for test in ("t", "sign_flip"))
    assert [c.difference for c in by_t] == [c.difference for c in by_signs]
    flips = [c.difference.p_sign_flip for c in by_signs]
    np.testing.assert_allclose([c.p_corrected for c in by_signs], multipletests(flips, method="holm")[1])
    assert by_signs[0].verdict == "worse" and by_signs[0].p_corrected == 2 * 2 / 2**8 > by_t[0].p_corrected
    assert by_signs[1].detectable == by_t[1].detectable  # 2 / 2^8 is below 0.05 / 2


def test_out_of_reach_of_the_sign_flip_test():
    """6 pairs reach 2 / 64: enough for one test at 0.05, not for two, which need 7 seeds."""
    rng = np.random.default_rng(2)
    (one,) = analyse([Measured(draw(rng, 2, 6))], "v0", test="sign_flip").comparisons[0]
    assert one.reason == "" and one.detectable > 0
    for each in analyse([Measured(draw(rng, 3, 6, 0.0, 9.0))], "v0", test="sign_flip").comparisons[0]:
        assert each.verdict == "not distinguishable" and math.isnan(each.detectable)
        assert each.reason == "out of reach of the sign-flip test, which needs 7 seeds for 2 tests"
    for each in analyse([Measured(draw(rng, 3, 7))], "v0", test="sign_flip").comparisons[0]:
        assert each.reason == "" and each.detectable > 0
    found = analyse([Measured(draw(rng, 4, 6))], "v0", 1e-4, test="sign_flip").comparisons[0]
    assert "cannot decide 3 tests with any number of seeds" in found[0].reason


def test_a_constant_difference_is_decided_by_signs_though_not_by_t():
    values = {"a": seeds(range(6)), "b": {s: v + 0.5 for s, v in seeds(range(6)).items()}}
    (c,) = analyse([Measured(values)], "a", test="sign_flip").comparisons[0]
    assert (c.verdict, c.reason, c.p_corrected) == ("worse", "", 2 / 64) and math.isnan(c.detectable)


def test_equivalence_is_statsmodels_and_holms_over_the_metrics_with_a_margin():
    rng = np.random.default_rng(3)
    first, second, third = (draw(rng, 3, 8, sd=0.1) for _ in range(3))
    metrics = [Measured(first, margin=0.5), Measured(second, "max"), Measured(third, margin=0.2)]
    found = analyse(metrics, "v0")
    assert (found.n_tests, found.n_equivalence) == (6, 4)
    p = [
        ttost_paired(array(values, label), array(values, "v0"), -margin, margin)[0]
        for values, margin in ((first, 0.5), (third, 0.2))
        for label in ("v1", "v2")
    ]
    tested = [*found.comparisons[0], *found.comparisons[2]]
    np.testing.assert_allclose([c.p_equivalent for c in tested], multipletests(p, method="holm")[1])
    for c in tested:
        assert c.within == (c.p_equivalent <= 0.05)
        assert c.verdict == ("equivalent" if c.within else "not distinguishable")
    assert found.comparisons[0][0].reason == "within the margin of ±0.5"
    for c in found.comparisons[1]:
        assert c.verdict == "not distinguishable" and math.isnan(c.p_equivalent) and not c.within


def test_four_verdicts():
    rng, noise = np.random.default_rng(4), 0.02
    base = rng.normal(0, 1, 6)
    shifts = {"much": 1.0, "little": 0.1, "none": 0.0}
    values = {"base": seeds(base)} | {k: seeds(base + v + rng.normal(0, noise, 6)) for k, v in shifts.items()}
    values["noisy"] = seeds(base + rng.normal(0, 2, 6))
    found = {c.variant: c for c in analyse([Measured(values, margin=0.3)], "base").comparisons[0]}
    assert {k: (c.verdict, c.within) for k, c in found.items()} == {
        "much": ("worse", False),
        "little": ("worse", True),  # real, and too small to matter
        "none": ("equivalent", True),
        "noisy": ("not distinguishable", False),
    }
    assert found["little"].reason == "within the margin of ±0.3" and found["much"].reason == ""


def test_what_has_no_variance_is_not_equivalent():
    base = seeds([1.0, 2.0, 4.0])
    values = {"a": base, "same": dict(base), "shifted": {s: v + 0.125 for s, v in base.items()}, "one": {0: 1.0}}
    found = analyse([Measured(values, margin=1.0)], "a")
    assert found.n_equivalence == 0 and found.n_tests == 1
    assert [c.verdict for c in found.comparisons[0]] == ["not distinguishable", "not tested", "not tested"]
    assert found.comparisons[0][0].reason == "identical to the baseline in every seed"


def test_direct_pairs_that_cannot_be_compared_say_why():
    values = draw(np.random.default_rng(5), 4, 4)
    values["v2"], values["v3"] = {0: 1.0, 1: 2.0, 2: None, 3: None}, {0: None, 1: None, 2: 1.0, 3: 2.0}
    metric = Measured(values, not_applicable={"v1": "too long"})
    asked = [claim("v2 > v3", source="x"), claim("v2 > v1", source="x")]
    found = analyse([metric], "v0", claims=asked, names=["loss"])
    apart, absent = found.direct[0]
    assert (apart.verdict, apart.reason) == ("not tested", "no seed has a value for both this variant and v3")
    assert (absent.verdict, absent.reason) == ("not applicable", "too long")
    assert found.n_tests == 2


@pytest.mark.parametrize("test", ["t", "sign_flip"])
def test_family_wise_error_rate_over_metrics_and_direct_pairs(frozen_heap, test):
    """Equal variants: the share of studies with any false verdict is at most alpha."""
    rng, studies, alpha, asked = np.random.default_rng(6), 150, 0.1, [claim("v1 > v2", source="x")]
    false = 0
    for _ in range(studies):
        metrics = [Measured(draw(rng, 3, 8)), Measured(draw(rng, 3, 8), "max")]
        found = analyse(metrics, "v0", alpha, test=test, claims=asked, names=["a", "b"])
        made = [c for each in (*found.comparisons, *found.direct) for c in each]
        assert len(made) == found.n_tests == 5
        false += any(c.verdict != "not distinguishable" for c in made)
    assert 0 < false <= stats.binom.ppf(0.999, studies, alpha)


def test_false_equivalence_over_a_family(frozen_heap):
    """Variants whose true difference is the margin: the share of studies that call any equivalent is at most alpha."""
    rng, studies, alpha = np.random.default_rng(7), 150, 0.1
    false = 0
    for _ in range(studies):
        values = {"v0": seeds(np.zeros(6))} | {f"v{i}": seeds(rng.normal(0.8, 0.2, 6)) for i in (1, 2, 3)}
        false += any(c.within for c in analyse([Measured(values, margin=0.8)], "v0", alpha).comparisons[0])
    assert 0 < false <= stats.binom.ppf(0.999, studies, alpha)


def test_bad_arguments():
    values = {"a": {0: 1.0}, "b": {0: 1.0}}
    with pytest.raises(UserError, match=r"test='sign'.*did you mean 'sign_flip'.*give one of t, sign_flip"):
        analyse([Measured(values)], "a", test="sign")
    for margin in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UserError, match="margin="):
            analyse([Measured(values, margin=margin)], "a")
