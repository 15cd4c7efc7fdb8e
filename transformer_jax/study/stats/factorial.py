"""Products of factors: which factor matters by itself, and which only together with another."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from statsmodels.formula import api as formulas
from statsmodels.stats.anova import anova_lm

from transformer_jax.study.stats.family import holm
from transformer_jax.study.stats.sample import finite

HIGHEST_ORDER = 3  # of interactions that are fitted


@dataclass(frozen=True)
class Effect:
    """A main effect (one term) or an interaction (two or three).

    Attributes:
      terms: names of the factors.
      df: degrees of freedom.
      f, p: of the F-test.
      p_corrected: Holm-corrected over the effects of this analysis.
      significant: whether that is at most alpha.
      partial_eta_squared: its sum of squares over itself and the residual one.
    """

    terms: tuple[str, ...]
    df: int
    f: float
    p: float
    p_corrected: float
    significant: bool
    partial_eta_squared: float


@dataclass(frozen=True)
class Level:
    """The mean of one level of a factor, every combination of the other factors and every seed weighing the same.

    Attributes:
      mean: in the metric's unit.
      se: its standard error over runs with these seeds; NaN without residual variance.
    """

    mean: float
    se: float


@dataclass(frozen=True)
class Factorial:
    """An analysis of variance.

    Attributes:
      factors: name -> levels, in order of first appearance.
      effects: main effects, then interactions; empty if nothing could be tested.
      residual_df: degrees of freedom of the residual.
      marginal: factor -> level -> its mean.
      cells: pair of factors -> pair of levels -> mean, NaN where no run gave a value.
      used: observations.
      left_out: runs without a value.
      reason: what could not be fitted or tested, and why; empty if all was.
    """

    factors: dict[str, tuple[str, ...]]
    effects: list[Effect] = field(default_factory=list)
    residual_df: int = 0
    marginal: dict[str, dict[str, Level]] = field(default_factory=dict)
    cells: dict[tuple[str, str], dict[tuple[str, str], float]] = field(default_factory=dict)
    used: int = 0
    left_out: int = 0
    reason: str = ""


def levels_of(variants: Sequence[Mapping]) -> dict[str, dict[str, str]] | None:
    """factor -> label of a variant -> level, if the variants are a full product of two or more factors; else None.

    A factor is a key whose value varies. Keys that vary together are one factor, named by all of them, and so is a
    key whose value another one fixes. All variants must set the same keys, and every combination of levels must be
    there once.

    Args:
      variants: `label` and `overrides` of each, as in study.json.
    """
    overrides = [each["overrides"] for each in variants]
    labels = [each["label"] for each in variants]
    if len({frozenset(each) for each in overrides}) != 1:
        return None
    columns = {key: tuple(str(each[key]) for each in overrides) for key in sorted(overrides[0])}
    columns = {key: column for key, column in columns.items() if len(set(column)) > 1}
    groups: dict[str, list[str]] = {}
    for key in sorted(columns, key=lambda key: -len(set(columns[key]))):  # stable: else by name
        owner = next((each for each in groups if _fixes(columns[each], columns[key])), None)
        groups.setdefault(owner or key, []).append(key)
    factors = {
        ", ".join(keys): [", ".join(row) for row in zip(*(columns[key] for key in keys), strict=True)]
        for keys in sorted(groups.values())
    }
    combinations = set(zip(*factors.values(), strict=True))
    if len(factors) < 2 or not len(labels) == len(combinations) == math.prod(len(set(c)) for c in factors.values()):
        return None
    return {name: dict(zip(labels, column, strict=True)) for name, column in factors.items()}


def factorial(
    values: Mapping[str, Mapping[int, float | None]], levels: Mapping[str, Mapping[str, str]], alpha: float = 0.05
) -> Factorial:
    """Least squares on the factors and their interactions of up to three, with the seed as a block (runs of one seed
    share batches and initialisation); sums of squares of type II, statsmodels' `anova_lm`.

    A run without a value (diverged, failed, missing) is left out and counted; the others stay, which makes the
    design unbalanced: type II and the adjusted means allow for that. What they cannot allow for is that runs which
    diverge are not a random choice: where many did, the share of diverged runs is the finding. If the values do not
    suffice for the interactions of most factors (a variant has no value at all, or there is one value per
    coefficient), those are not fitted and count as noise, and `reason` says so.

    Args:
      values: label -> seed -> value, None or non-finite where a run gave none.
      levels: of `levels_of`.
      alpha: family-wise error rate over the effects.
    """
    factors = {name: tuple(dict.fromkeys(column.values())) for name, column in levels.items()}
    labels = list(next(iter(levels.values())))
    known = {label: finite(values[label]) for label in labels}
    lost = sum(len(values[label]) - len(known[label]) for label in labels)
    seeds = sorted({seed for each in known.values() for seed in each})
    used = sum(map(len, known.values()))
    grid = pd.DataFrame(itertools.product(labels, seeds), columns=["label", "seed"])
    grid["y"] = [known[label].get(seed, math.nan) for label, seed in zip(grid.label, grid.seed, strict=True)]
    grid["seed"] = pd.Categorical(grid["seed"])
    for i, (name, order) in enumerate(factors.items()):
        grid[f"f{i}"] = pd.Categorical(grid["label"].map(levels[name]), categories=order)
    formula, reason = _formula(grid, len(factors))
    if not formula:
        return Factorial(factors, used=used, left_out=lost, reason=reason)
    fit = formulas.ols(formula, grid.dropna()).fit()
    noiseless = fit.ssr <= used * (1e-10 * np.abs(grid.y).max()) ** 2
    if noiseless:
        reason = "the runs differ by nothing but factors and seeds: without residual variance there is no test"
    made = [] if noiseless else _effects(fit, list(factors), alpha)
    marginal, cells = _means(fit, formula, grid, factors, noiseless)
    return Factorial(factors, made, int(fit.df_resid), marginal, cells, used, lost, reason)


def _fixes(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the values of `one` leave no choice for `other`."""
    return len(set(zip(one, other, strict=True))) == len(set(one))


def _formula(grid: pd.DataFrame, factors: int) -> tuple[str, str]:
    """The fullest model that the values determine, with an observation to spare; and what is missing from it."""
    block = "seed + " if len(grid.seed.cat.categories) > 1 else ""
    highest, why = min(HIGHEST_ORDER, factors), "no values"
    for order in range(highest, 0, -1) if grid.y.notna().any() else ():
        formula = f"y ~ {block}({' + '.join(f'f{i}' for i in range(factors))})**{order}"
        design = formulas.ols(formula, grid.dropna()).exog
        rank = np.linalg.matrix_rank(design)
        if rank == design.shape[1] < len(design):
            missing = f"interactions of {order + 1} or more factors are not fitted: {why}"
            return formula, missing if order < highest else ""
        why = "too few values" if rank == len(design) else "a combination of levels has no value, or too few"
    return "", f"no analysis of variance: {why}"


def _effects(fit, names: list[str], alpha: float) -> list[Effect]:
    table = anova_lm(fit, typ=2).drop(index="seed", errors="ignore")
    residual = table.loc["Residual", "sum_sq"]
    table = table.drop(index="Residual")
    corrected = holm(table["PR(>F)"].to_dict())
    return [
        Effect(
            terms=tuple(names[int(term[1:])] for term in name.split(":")),
            df=int(row["df"]),
            f=float(row["F"]),
            p=float(row["PR(>F)"]),
            p_corrected=corrected[name],
            significant=corrected[name] <= alpha,
            partial_eta_squared=float(row["sum_sq"] / (row["sum_sq"] + residual)),
        )
        for name, row in table.iterrows()
    ]


def _means(fit, formula: str, grid: pd.DataFrame, factors: dict[str, tuple[str, ...]], noiseless: bool):
    """Adjusted means: of the model's predictions for every combination of levels with every seed, lost ones too."""
    design = formulas.ols(formula, grid.assign(y=0.0)).exog

    def mean(rows: np.ndarray) -> Level:
        weights = design[rows].mean(axis=0, keepdims=True)
        if noiseless:
            return Level(float((weights @ fit.params.to_numpy())[0]), math.nan)
        found = fit.t_test(weights)
        return Level(float(np.squeeze(found.effect)), float(np.squeeze(found.sd)))

    columns = {name: grid[f"f{i}"].to_numpy() for i, name in enumerate(factors)}
    marginal = {name: {level: mean(columns[name] == level) for level in levels} for name, levels in factors.items()}
    cells = {}
    for one, other in itertools.combinations(factors, 2):
        cells[one, other] = {}
        for pair in itertools.product(factors[one], factors[other]):
            rows = (columns[one] == pair[0]) & (columns[other] == pair[1])
            seen = grid.y[rows].notna().any()
            cells[one, other][pair] = mean(rows).mean if seen else math.nan
    return marginal, cells
