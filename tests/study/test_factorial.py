"""Products of factors: which they are, and the analysis of variance."""

import gc
import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from transformer_jax.study import param, point, product
from transformer_jax.study.grid import chain, fixed
from transformer_jax.study.stats import factorial, levels_of


@pytest.fixture(autouse=True, scope="module")
def frozen_heap():
    """statsmodels' multipletests collects garbage in every call."""
    gc.freeze()
    yield
    gc.unfreeze()


def variants(grid):
    return [{"label": each.label, "overrides": dict(each.overrides)} for each in grid]


def grid(*sizes):
    return variants(product(*(param(f"model.{name}", range(size)) for name, size in zip("abc", sizes, strict=False))))


def crossed(*levels):
    return chain(*(point(f"{x} {y}", {"x": x, "y": y}) for x, y in levels))


def draw(rng, levels, seeds, effect=lambda *levels: 0.0, sd=1.0):
    """label -> seed -> value, with noise of the seed that all variants share."""
    shared = rng.normal(0, 3, seeds)
    labels = list(next(iter(levels.values())))
    return {
        label: {
            seed: float(effect(*(int(column[label]) for column in levels.values())) + shared[seed] + rng.normal(0, sd))
            for seed in range(seeds)
        }
        for label in labels
    }


def rss(y, *columns):
    """Residual sum of squares after least squares on indicators of each column."""
    design = np.concatenate([np.equal.outer(c, np.unique(c)).astype(float) for c in columns], axis=1)
    return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())


def flat(values, levels):
    rows = [
        (values[label][seed], seed, *(column[label] for column in levels.values()))
        for label in values
        for seed in values[label]
        if values[label][seed] is not None and math.isfinite(values[label][seed])
    ]
    y, *columns = (np.array(column) for column in zip(*rows, strict=True))
    return y, columns


def test_factors_of_a_product():
    found = levels_of(
        variants(product(param("model.heads", [1, 2]), param("model.position", ["rope", "none", "alibi"])))
    )
    assert list(found) == ["model.heads", "model.position"]
    assert found["model.heads"]["heads=2, position=none"] == "2"
    assert list(dict.fromkeys(found["model.position"].values())) == ["rope", "none", "alibi"]


def test_keys_that_do_not_vary_are_no_factors_and_those_that_vary_together_are_one():
    sizes = [
        (64, 1, 2),
        (128, 2, 2),
        (256, 4, 4),
    ]  # the width fixes the layers, not they it
    keys = ("model.width", "model.heads", "model.layers")
    together = chain(*(point(f"size {size[0]}", dict(zip(keys, size, strict=True))) for size in sizes))
    found = levels_of(variants(product(fixed({"train.steps": 5}), together, param("model.norm", ["pre", "post"]))))
    assert list(found) == ["model.heads, model.width, model.layers", "model.norm"]
    assert set(found["model.heads, model.width, model.layers"].values()) == {"1, 64, 2", "2, 128, 2", "4, 256, 4"}


@pytest.mark.parametrize(
    "other",
    [
        param("model.heads", [1, 2, 4]),  # one factor
        chain(point("base"), product(param("model.heads", [1, 2]), param("model.layers", [2, 4]))),  # other keys
        crossed((1, 1), (1, 2), (2, 1)),  # a corner is missing
        crossed((1, 1), (1, 2), (2, 3), (2, 4)),  # nested: no level of the one with every level of the other
        crossed((1, 1), (2, 2)),  # vary together
        point("one"),
    ],
)
def test_what_is_no_product(other):
    assert levels_of(variants(other)) is None


def test_a_corner_that_is_there_twice_is_no_substitute_for_a_missing_one():
    points = [(1, 1), ("1", 1), (1, 2), (2, 1)]
    assert levels_of([{"label": str(i), "overrides": {"x": x, "y": y}} for i, (x, y) in enumerate(points)]) is None


def test_a_level_that_python_would_take_for_another():
    """True == 1: as levels they are texts."""
    found = levels_of(variants(product(param("x", [True, False, None]), param("y", [0.5, "0"]))))
    assert set(found["x"].values()) == {"True", "False", "None"} and set(found["y"].values()) == {"0.5", "0"}


def test_penicillin():
    """Four treatments in five blocks (Box, Hunter & Hunter 1978, section 7.1): sums of squares 70 for treatments (3
    degrees of freedom), 226 for the residual (12). The treatments are taken as 2 x 2."""
    table = {"A": [89, 84, 81, 87, 79], "B": [88, 77, 87, 92, 81], "C": [97, 92, 87, 89, 80], "D": [94, 79, 85, 84, 88]}
    levels = {"row": dict(zip("ABCD", "0011", strict=True)), "column": dict(zip("ABCD", "0101", strict=True))}
    found = factorial({label: dict(enumerate(map(float, row))) for label, row in table.items()}, levels)
    assert found.residual_df == 12 and [e.df for e in found.effects] == [1, 1, 1]
    assert sum(e.f for e in found.effects) * 226 / 12 == pytest.approx(70)
    assert {k: v.mean for k, v in found.marginal["row"].items()} == pytest.approx({"0": 84.5, "1": 87.5})
    assert found.marginal["row"]["0"].se == pytest.approx(math.sqrt(226 / 12 / 10))
    assert found.cells["row", "column"] == pytest.approx(
        {("0", "0"): 84, ("0", "1"): 85, ("1", "0"): 89, ("1", "1"): 86}
    )


def test_balanced_sums_of_squares_in_closed_form():
    levels = levels_of(grid(2, 3, 2))
    values = draw(np.random.default_rng(0), levels, 3, lambda a, b, c: a + 0.5 * b * c)
    y = np.array([[values[label][s] for s in range(3)] for label in values]).reshape(2, 3, 2, 3)
    found = factorial(values, levels)

    def part(*axes):
        """Sum of squares of an interaction: of means with all that its parts explain taken away."""
        total = 0.0
        for size in range(len(axes) + 1):
            for kept in itertools.combinations(axes, size):
                means = y.mean(axis=tuple(set(range(4)) - set(kept)), keepdims=True)
                total = total + (-1) ** (len(axes) - size) * means
        return (np.broadcast_to(total, y.shape) ** 2).sum()

    terms = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    names = list(levels)
    assert [e.terms for e in found.effects] == [tuple(names[i] for i in term) for term in terms]
    residual = ((y - y.mean()) ** 2).sum() - part(3) - sum(part(*term) for term in terms)
    assert found.residual_df == 22 and found.used == 36 and found.left_out == 0 and found.reason == ""
    for effect, term in zip(found.effects, terms, strict=True):
        f = part(*term) / effect.df / (residual / 22)
        assert effect.f == pytest.approx(f) and effect.p == pytest.approx(stats.f.sf(f, effect.df, 22))
        assert effect.partial_eta_squared == pytest.approx(part(*term) / (part(*term) + residual))
    holm = multipletests([e.p for e in found.effects], method="holm")[1]
    np.testing.assert_allclose([e.p_corrected for e in found.effects], holm)
    assert [e.significant for e in found.effects] == [p <= 0.05 for p in holm]


def test_lost_runs_are_left_out_counted_and_allowed_for():
    """Against sums of squares of type II from the residuals of nested models."""
    levels = levels_of(grid(2, 3))
    values = draw(np.random.default_rng(1), levels, 3, lambda a, b: 2 * a + b)
    values["a=0, b=0"][0], values["a=1, b=2"][2], values["a=1, b=1"][2] = None, math.nan, math.inf
    found = factorial(values, levels)
    assert (found.used, found.left_out, found.residual_df) == (15, 3, 7)
    values = {
        label: {s: v for s, v in each.items() if v is not None and math.isfinite(v)} for label, each in values.items()
    }
    y, (seed, a, b) = flat(values, levels)
    cell = np.char.add(a, b)
    full = rss(y, seed, cell)
    expected = [rss(y, seed, b) - rss(y, seed, a, b), rss(y, seed, a) - rss(y, seed, a, b), rss(y, seed, a, b) - full]
    for effect, ss in zip(found.effects, expected, strict=True):
        assert effect.f == pytest.approx(ss / effect.df / (full / 7))
    # the seed of a lost run was a bad one: the plain mean of the others is off, the adjusted one is not
    plain = y[a == "1"].mean()
    model = np.mean([found.cells["model.a", "model.b"]["1", str(i)] for i in range(3)])
    assert found.marginal["model.a"]["1"].mean == pytest.approx(model) != pytest.approx(plain)


def test_a_planted_effect_and_a_planted_interaction_are_found():
    levels = levels_of(grid(2, 2))
    rng = np.random.default_rng(2)
    main = factorial(draw(rng, levels, 4, lambda a, b: 8 * a), levels).effects
    assert [e.significant for e in main] == [True, False, False]
    crossed = factorial(draw(rng, levels, 4, lambda a, b: 8 * (a ^ b)), levels).effects
    assert [e.significant for e in crossed] == [False, False, True]


def test_equal_variants_have_no_more_effects_than_alpha():
    levels, rng, studies, alpha = levels_of(grid(2, 2)), np.random.default_rng(3), 80, 0.2
    found = (factorial(draw(rng, levels, 3), levels, alpha) for _ in range(studies))
    false = sum(any(e.significant for e in each.effects) for each in found)
    assert 0 < false <= stats.binom.ppf(0.999, studies, alpha)


def test_a_variant_without_values_costs_the_interaction():
    levels = levels_of(grid(2, 3))
    values = draw(np.random.default_rng(4), levels, 3)
    values["a=1, b=2"] = dict.fromkeys(range(3))
    found = factorial(values, levels)
    assert [e.terms for e in found.effects] == [("model.a",), ("model.b",)] and found.residual_df == 9
    assert found.reason.startswith("interactions of 2 or more factors are not fitted: a combination of levels has no")
    cells = found.cells["model.a", "model.b"]
    assert math.isnan(cells["1", "2"]) and sum(map(math.isnan, cells.values())) == 1
    assert (found.used, found.left_out) == (15, 3)


def test_one_seed_is_too_few_for_the_interaction():
    levels = levels_of(grid(2, 3))
    found = factorial(draw(np.random.default_rng(5), levels, 1), levels)
    assert found.residual_df == 2 and len(found.effects) == 2
    assert found.reason == "interactions of 2 or more factors are not fitted: too few values"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda label, seed: None, "no values"),
        (lambda label, seed: 1.0 if label == "a=0, b=0" else None, "too few values"),
        (lambda label, seed: None if label.startswith("a=0") else float(seed), "a combination of levels has no value"),
        (lambda label, seed: 0.7, "without residual variance"),
        (lambda label, seed: 0.1 * int(label[2]) + 0.3 * seed, "without residual variance"),
    ],
)
def test_what_cannot_be_analysed_says_why(value, words):
    levels = levels_of(grid(2, 2))
    labels = list(levels["model.a"])
    found = factorial({label: {seed: value(label, seed) for seed in range(3)} for label in labels}, levels)
    assert found.effects == [] and words in found.reason
    assert found.used + found.left_out == 12


def test_means_without_variance_are_still_given():
    levels = levels_of(grid(2, 2))
    values = {label: {s: float(levels["model.a"][label]) + s for s in range(2)} for label in levels["model.a"]}
    found = factorial(values, levels)
    assert found.marginal["model.a"]["1"].mean == pytest.approx(1.5) and math.isnan(found.marginal["model.a"]["1"].se)
    assert found.cells["model.a", "model.b"]["0", "1"] == pytest.approx(0.5)


def test_four_factors_have_no_interaction_of_four():
    names = [product(*(param(name, range(2)) for name in "abcd"))]
    levels = levels_of(variants(names[0]))
    found = factorial(draw(np.random.default_rng(6), levels, 2), levels)
    assert max(len(e.terms) for e in found.effects) == 3 and len(found.effects) == 4 + 6 + 4
    assert found.residual_df == 32 - 1 - 1 - 14 and found.reason == "" and len(found.cells) == 6
