"""What was measured, and one variant's values by themselves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One variant's values: how many there are, how many runs gave none, mean and standard deviation (n - 1).

    `mean` is NaN without a value, `sd` with fewer than two.
    """

    n: int
    lost: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Measured:
    """One metric of all variants.

    Attributes:
      values: label -> seed -> value; None or non-finite where a run gave none.
      direction: 'min' if less is better, 'max' if more is.
      not_applicable: label -> reason, of the variants that the metric does not apply to.
      margin: differences within ±margin, in the metric's unit, do not matter; None asks for no equivalence test.
    """

    values: Mapping[str, Mapping[int, float | None]]
    direction: str = "min"
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    margin: float | None = None


def describe(values: Mapping[int, float | None]) -> Sample:
    """The sample of one variant from seed -> value, which is None or non-finite for a run that gave none."""
    good = list(finite(values).values())
    mean = float(np.mean(good)) if good else math.nan
    sd = float(np.std(good, ddof=1)) if len(good) > 1 else math.nan
    return Sample(len(good), len(values) - len(good), mean, sd)


def finite(values: Mapping[int, float | None]) -> dict[int, float]:
    """`values` without the runs that gave none."""
    return {seed: float(v) for seed, v in values.items() if v is not None and math.isfinite(v)}
