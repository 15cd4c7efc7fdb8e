"""Claims: how they are read, and what becomes of them."""

import gc
import math

import numpy as np
import pytest
from scipy import stats

from transformer_jax.errors import UserError
from transformer_jax.study.claims import Claim, claim
from transformer_jax.study.stats import Measured, analyse

NOISE = np.array([0.03, -0.02, 0.01, 0.02, -0.03, -0.01])


@pytest.fixture(autouse=True, scope="module")
def frozen_heap():
    """statsmodels' multipletests collects garbage in every call."""
    gc.freeze()
    yield
    gc.unfreeze()


def variants(**shifts):
    """Six seeds of each variant around its shift, with a little noise of its own; 'noisy' has much."""
    shared = np.linspace(1, 2, 6)
    made = {label: shared + shift + np.roll(NOISE, i) for i, (label, shift) in enumerate(shifts.items())}
    made["noisy"] = shared + np.array([3.0, -4, 2, -2, 5, -3])
    return {label: dict(enumerate(map(float, values))) for label, values in made.items()}


VALUES = variants(base=0.0, same=0.0, little=-0.1, good=-1.0, bad=1.0)


def answer(text, direction="min", margin=0.3, values=VALUES, test="t"):
    asked = claim(text, source="Someone 2020")
    (found,) = analyse(
        [Measured(values, direction, margin=margin)], "base", test=test, claims=[asked], names=["valid/loss"]
    ).claims
    assert found.claim is asked and found.metric == "valid/loss"
    return found


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("good > base", "confirmed"),
        ("base > good", "refuted"),
        ("bad > base", "refuted"),
        ("base > bad", "confirmed"),
        ("good > bad", "confirmed"),  # two variants against one another
        ("bad > good", "refuted"),
        ("little > base", "confirmed"),  # real, though within the margin
        ("base > little", "refuted"),
        ("same > base", "refuted"),  # equivalent
        ("base > same", "refuted"),
        ("noisy > base", "undecided"),
        ("good > noisy", "undecided"),
        ("same = base", "confirmed"),
        ("base = same", "confirmed"),
        ("little = base", "confirmed"),  # significant, and shown to lie within the margin
        ("little = same", "confirmed"),
        ("good = base", "refuted"),
        ("base = good", "refuted"),
        ("good = bad", "refuted"),
        ("noisy = base", "undecided"),
        ("noisy = good", "undecided"),
    ],
)
def test_outcomes(text, outcome):
    assert answer(text).outcome == outcome


def test_the_direction_of_the_goal_decides_what_is_better():
    assert answer("good > base", "max").outcome == "refuted"
    assert answer("bad > base", "max").outcome == "confirmed"


def test_without_a_margin_nothing_found_decides_nothing():
    assert answer("same > base", margin=None).outcome == "undecided"
    with pytest.raises(UserError, match="'same = base': 'valid/loss' has no margin"):
        answer("same = base", margin=None)


def test_a_difference_that_may_be_on_either_side_of_the_margin_refutes_no_equality():
    """Significant, and its interval contains the margin: neither shown to be smaller nor to be larger."""
    found = answer("little = base", margin=0.1)
    assert found.comparison.verdict == "better" and found.difference.low < -0.1 < found.difference.high
    assert found.outcome == "undecided" and "Whether by more than the margin of ±0.1 is open." in found.sentence


def test_sentences_give_the_figures():
    found = answer("good > base")
    assert found.sentence.startswith("good is better than base: valid/loss −1 (95 % interval −1.")
    assert found.sentence.endswith("corrected p < 0.001, 6 pairs).")
    assert "shown to be larger than the margin of ±0.3." in answer("good = base").sentence
    assert "shown to lie within the margin of ±0.3 (corrected p < 0.001)" in answer("base > little").sentence
    assert "cannot be told from" in answer("noisy > base").sentence
    detectable = answer("noisy > base").comparison.detectable
    assert f"below about {detectable:.2g} could well be missed" in answer("noisy > base").sentence
    assert "is not shown either" in answer("noisy = base").sentence


def test_lost_runs_are_told():
    values = VALUES | {"good": VALUES["good"] | {0: None, 1: float("nan")}}
    found = answer("good > base", values=values)
    assert found.outcome == "confirmed"
    assert found.sentence.endswith(" 2 of 6 runs of good gave no value; the figures are over the others.")
    assert "gave no value" not in answer("little > base", values=values).sentence


@pytest.mark.slow
def test_a_true_difference_at_the_margin_is_hardly_ever_called_larger():
    """20 claims of equality whose truth is the margin itself: a false refutation in at most alpha of the studies."""
    rng, margin, studies = np.random.default_rng(5), 0.3, 150
    labels = [f"v{i}" for i in range(20)]
    asked = [claim(f"base = {label}", source="x") for label in labels]
    wrong = 0
    for _ in range(studies):
        values = {"base": dict(enumerate(rng.normal(0, 0.1, 6)))}
        values |= {label: dict(enumerate(margin + rng.normal(0, 0.1, 6))) for label in labels}
        found = analyse([Measured(values, margin=margin)], "base", claims=asked, names=["loss"]).claims
        wrong += any(each.outcome == "refuted" for each in found)
    assert wrong <= stats.binom.ppf(0.999, studies, 0.05)


def test_figures_are_left_minus_right_whichever_way_round_they_were_compared():
    there, back = answer("good > base"), answer("base > good")
    assert there.comparison.variant == back.comparison.variant == "good"
    assert there.difference.mean == -back.difference.mean == pytest.approx(-1, abs=0.05)
    assert (there.difference.low, there.difference.high) == (-back.difference.high, -back.difference.low)
    assert "base is worse than good: valid/loss +1 (95 % interval +0.9" in back.sentence


def test_too_few_seeds_for_the_sign_flip_test_are_said():
    assert "The difference is out of reach of the sign-flip test, which needs 8 seeds for 5 tests." in (
        answer("good > base", margin=None, test="sign_flip").sentence
    )


def test_what_was_not_compared_is_undecided_with_the_reason():
    values = VALUES | {"gone": dict.fromkeys(range(6)), "twin": VALUES["base"]}
    found = answer("gone > base", values=values)
    assert found.outcome == "undecided" and found.difference is None
    assert found.sentence == "gone and base were not compared on valid/loss (not tested): no run gave a value."
    assert answer("gone > good", values=values).outcome == "undecided"
    for text in ("twin > base", "twin = base"):
        found = answer(text, values=values)
        assert found.outcome == "undecided" and "identical in every seed" in found.sentence
    asked = [claim("good > base", source="x")]
    metric = Measured(VALUES, not_applicable={"good": "too long"})
    (found,) = analyse([metric], "base", claims=asked, names=["loss"]).claims
    assert found.outcome == "undecided" and found.sentence.endswith("(not applicable): too long.")


def test_a_constant_difference_has_no_interval_to_show():
    values = {"base": {s: float(s) for s in range(6)}, "up": {s: s + 0.5 for s in range(6)}}
    found = answer("base > up", values=values, test="sign_flip", margin=None)
    assert found.outcome == "confirmed" and math.isnan(found.difference.low) and "interval" not in found.sentence
    found = answer("base = up", values=values, test="sign_flip", margin=0.1)
    assert found.outcome == "undecided"


def test_a_claim_is_about_its_metric():
    metrics = [Measured(VALUES), Measured(VALUES, "max")]
    asked = [claim("good > base", source="x", metric=name) for name in ("second", None, "first")]
    found = analyse(metrics, "base", claims=asked, names=["first", "second"]).claims
    assert [(each.metric, each.outcome) for each in found] == [
        ("second", "refuted"),
        ("first", "confirmed"),
        ("first", "confirmed"),
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Claim("god", ">", "base", "x"), "'god' has no values.*did you mean 'good'"),
        (Claim("good", ">", "good", "x"), "two different variants"),
        (Claim("good", ">", "base", "x", "valid/los"), "metric='valid/los' is not measured.*did you mean 'valid/loss'"),
    ],
)
def test_claims_that_do_not_fit(asked, message):
    with pytest.raises(UserError, match=message):
        analyse([Measured(VALUES)], "base", claims=[asked], names=["valid/loss"])
    with pytest.raises(UserError, match="is not measured"):
        analyse([Measured(VALUES)], "base", claims=[Claim("good", ">", "base", "x")])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("none > rope", ("none", ">", "rope")),
        ("  a, b=1 = c  ", ("a, b=1", "=", "c")),
        ("heads=2 > heads=4", ("heads=2", ">", "heads=4")),
    ],
)
def test_claims_are_read(text, parts):
    found = claim(text, source="x", metric="2x/accuracy")
    assert (found.left, found.relation, found.right) == parts and found.metric == "2x/accuracy"
    assert str(found) == " ".join(parts)


@pytest.mark.parametrize("text", ["", "a", "a >", "> b", "a<b", "a>b", "a ≥ b"])
def test_what_is_no_claim(text):
    with pytest.raises(UserError, match="give 'A > B'"):
        claim(text, source="x")


def test_a_claim_needs_a_source():
    with pytest.raises(UserError, match="give its source"):
        claim("a > b", source=" ")
