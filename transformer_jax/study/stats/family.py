"""The correction for making many tests."""

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

from statsmodels.stats.multitest import multipletests

Key = TypeVar("Key", bound=Hashable)


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """Each p-value corrected over all of them, so that the chance of any false rejection is at most alpha, however
    the tests depend on one another (Holm 1979). What is NaN was no test: it stays NaN, and does not count."""
    tested = {key: value for key, value in p.items() if not math.isnan(value)}
    corrected = multipletests(list(tested.values()), method="holm")[1] if tested else ()
    return dict.fromkeys(p, math.nan) | dict(zip(tested, map(float, corrected), strict=True))
