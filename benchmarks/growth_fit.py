"""`fit`: the exponent with which a cost grows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_LEAST = 4  # points of a fit, where there are so many


@dataclass(frozen=True)
class Fit:
    """y = a x^exponent.

    Attributes:
      low, high: 95 % interval of the exponent from what the points are off the line; NaN for two points.
      first, last: the range of x that was fitted.
    """

    exponent: float
    low: float
    high: float
    first: float
    last: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.exponent:.2f}"
        return f"{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f})"


def upper_half(x: Sequence[float]) -> list[int]:
    """The places of those at least as large as the middle, in logarithms, of the range; of four or more, at least four.

    Args:
      x: above 0, growing.
    """
    middle = math.sqrt(x[0] * x[-1]) if x else 0.0
    count = max(sum(value >= 0.999 * middle for value in x), _LEAST)
    return list(range(len(x)))[-count:]


def fit(x: Sequence[float], y: Sequence[float]) -> Fit | None:
    """Least squares of log y on log x over the upper half of the range; None for fewer than two points.

    Args:
      x: above 0, growing.
      y: above 0; with a 0 among those that are fitted there is no exponent, and None comes back.
    """
    at = upper_half(x)
    xs, ys = [x[i] for i in at], [y[i] for i in at]
    if len(at) < 2 or min(ys) <= 0:
        return None
    found = stats.linregress(np.log(xs), np.log(ys))
    reach = stats.t.ppf(0.975, len(at) - 2) * found.stderr if len(at) > 2 else math.nan
    return Fit(float(found.slope), float(found.slope - reach), float(found.slope + reach), xs[0], xs[-1])
