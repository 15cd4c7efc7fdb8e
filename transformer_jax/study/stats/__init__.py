"""The statistics of a study: what its values allow to be said. All formulas are scipy's and statsmodels'.

Read in this order: sample (one variant), paired (a difference), family (the correction), power, comparison (a verdict),
claimed (a claim's outcome), analysis (a whole study); beside them factorial and diverged.
"""

from transformer_jax.study.stats.analysis import Analysis, analyse, compare, compare_all
from transformer_jax.study.stats.claimed import CONFIRMED, REFUTED, UNDECIDED, ClaimResult
from transformer_jax.study.stats.comparison import (
    BETTER,
    EQUIVALENT,
    NOT_APPLICABLE,
    SAME,
    UNTESTED,
    WORSE,
    Comparison,
)
from transformer_jax.study.stats.diverged import Diverged, diverged
from transformer_jax.study.stats.factorial import Effect, Factorial, Level, factorial, levels_of
from transformer_jax.study.stats.paired import Difference
from transformer_jax.study.stats.power import (
    MOST_SEEDS,
    Noise,
    PowerRow,
    detectable_effect,
    paired_sd,
    power_of,
    power_table,
    seeds_needed,
)
from transformer_jax.study.stats.sample import Measured, Sample, describe

__all__ = [
    "BETTER",
    "CONFIRMED",
    "EQUIVALENT",
    "MOST_SEEDS",
    "NOT_APPLICABLE",
    "REFUTED",
    "SAME",
    "UNDECIDED",
    "UNTESTED",
    "WORSE",
    "Analysis",
    "ClaimResult",
    "Comparison",
    "Difference",
    "Diverged",
    "Effect",
    "Factorial",
    "Level",
    "Measured",
    "Noise",
    "PowerRow",
    "Sample",
    "analyse",
    "compare",
    "compare_all",
    "describe",
    "detectable_effect",
    "diverged",
    "factorial",
    "levels_of",
    "paired_sd",
    "power_of",
    "power_table",
    "seeds_needed",
]
