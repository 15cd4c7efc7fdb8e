"""`Study`: one question, put down before the first run, and `load_study`, which reads it from a file."""

import copy
import dataclasses
import re
from dataclasses import dataclass

from ml_collections import ConfigDict

from transformer_jax import config as configs
from transformer_jax import config_file
from transformer_jax.errors import UserError, nearest
from transformer_jax.study.grid import Grid

DIRECTIONS = ("min", "max")


@dataclass(frozen=True)
class Goal:
    """What decides: a metric, which way is better, and the error rate that is accepted.

    Attributes:
      metric: a key of a result's metrics, `split/name`; the split may be a set of `data.tests`.
      direction: 'min' if less is better, 'max' if more is.
      alpha: the chance of calling at least one of the study's variants different, on any metric, when none is.
    """

    metric: str = "valid/bits_per_byte"
    direction: str = "min"
    alpha: float = 0.05

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]\w*(/[\w@.-]+)+", self.metric):
            raise UserError(f"goal.metric={self.metric!r}: give split/name, such as 'valid/loss'")
        if self.direction not in DIRECTIONS:
            raise UserError(f"goal.direction={self.direction!r}: give 'min' (less is better) or 'max' (more is better)")
        if not 0 < self.alpha < 0.5:
            raise UserError(f"goal.alpha={self.alpha!r}: give a number between 0 and 0.5, such as 0.05")


@dataclass(frozen=True)
class Study:
    """One question about variants of one config.

    Attributes:
      name: what the report calls it.
      question: what it asks, in a sentence.
      base: the config that every variant starts from.
      grid: the variants.
      baseline: the label of the variant that the others are compared with.
      seeds: runs per variant; run i of every variant has seed `base.seed + i`, hence the same batches in the
        same order and the same initialisation key.
      goal: the primary metric, its direction and alpha.
      also: secondary goals, each reported in a table of its own with its own intervals and p-values. Holm's
        correction runs over all comparisons of the study together, primary and secondary ones: what is asked
        beside the primary question makes its answer harder to reach, so that alpha holds for the whole study.

    Raises:
      UserError: if a field does not fit.
    """

    name: str
    question: str
    base: ConfigDict
    grid: Grid
    baseline: str
    seeds: int = 3
    goal: Goal = Goal()
    also: tuple[Goal, ...] = ()

    def __post_init__(self):
        labels = self.grid.labels
        if not self.name.strip() or not self.question.strip():
            raise UserError(f"study name={self.name!r}, question={self.question!r}: give both a text")
        if "" in labels:
            raise UserError("a point of the grid has no label: fixed(…) is for product(…) only")
        if self.baseline not in labels:
            near = nearest(self.baseline, labels)
            raise UserError(f"study baseline={self.baseline!r} is not in the grid{near}; have {', '.join(labels)}")
        if len(labels) < 2:
            raise UserError("the grid has one point only: give at least one variant beside the baseline")
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 2:
            raise UserError(f"study seeds={self.seeds!r}: give 2 or more, as one run per variant has no noise estimate")
        for each in self.grid:
            if "seed" in dict(each.overrides):
                raise UserError(f"the point {each.label!r} sets seed: runs are paired by seed; use study seeds=…")
        metrics = [goal.metric for goal in self.goals]
        for goal in self.also:
            if metrics.count(goal.metric) > 1:
                raise UserError(f"study also: {goal.metric!r} is a goal already; give each metric once")
            if goal.alpha != self.goal.alpha:
                raise UserError(
                    f"study also: {goal.metric!r} has alpha={goal.alpha}, and goal.alpha is {self.goal.alpha}: "
                    "one alpha holds for all comparisons of a study; give the same"
                )

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The primary goal, then the secondary ones."""
        return (self.goal, *self.also)


def load_study(location: str, overrides: dict[str, str] | None = None) -> Study:
    """The study of `FILE.py` or `FILE.py:mode`, with `overrides` (dotted key -> text) in its base config.

    Raises:
      UserError: if the file is missing, gives no study, or an override does not fit or could have no effect.
    """
    study = config_file.read(location, "get_study", Study)
    base = copy.deepcopy(study.base)
    for key, text in (overrides or {}).items():
        if all(key in dict(each.overrides) for each in study.grid):
            raise UserError(f"--config.{key}={text} would have no effect: every variant of {location} sets {key}")
        configs.override(base, key, config_file.parse(base, key, text))
    return dataclasses.replace(study, base=base)
