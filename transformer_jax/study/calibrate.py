"""`calibrate`: how often the statistics of a study are wrong, seen on runs whose answer is known.

A study with hundreds of seeds is read as many small ones. A variant that differs from the baseline in `init_salt`
alone is the baseline with other random numbers: every difference that is found in it is false. For any other variant
the share of findings is held against the power that its first seeds, the pilot, predict.
"""

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from transformer_jax.errors import UserError
from transformer_jax.study.stats import BETTER, UNTESTED, WORSE, Measured, analyse, power_of
from transformer_jax.study.store import Store

_NULL = {"init_salt"}
_RESAMPLES = 2000
_LEAST = 20  # comparisons


@dataclass(frozen=True)
class Share:
    """Of `n` comparisons, in how many a difference was found, with a Clopper-Pearson interval of the share."""

    found: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.found / self.n


@dataclass(frozen=True)
class Calibration:
    """One variant of a study, compared with the baseline again and again, each time on seeds of its own.

    Attributes:
      variant: its label.
      null: whether it is the baseline but for random numbers.
      pairs: seeds per comparison.
      different: comparisons with a verdict of better or worse.
      wrong: those of them that say the opposite of the pilot (of a null variant: all).
      effect, sd: mean and standard deviation of the paired differences of the pilot; NaN for a null variant.
      predicted, predicted_low, predicted_high: the share of findings that the pilot predicts, with a 95 % bootstrap
        interval over its pairs; alpha for a null variant.
      pilot: pairs in the pilot.
    """

    variant: str
    null: bool
    pairs: int
    different: Share
    wrong: int
    effect: float
    sd: float
    predicted: float
    predicted_low: float
    predicted_high: float
    pilot: int

    @property
    def holds(self) -> bool:
        """A null variant: the interval contains alpha or lies below it. Others: it meets that of the prediction."""
        if self.null:
            return self.different.low <= self.predicted
        return self.different.low <= self.predicted_high and self.predicted_low <= self.different.high

    def __str__(self) -> str:
        s = self.different
        share = f"{s.found} of {s.n} comparisons of {self.pairs} pairs, {s.value:.3f} [{s.low:.3f}, {s.high:.3f}]"
        if self.null:
            return f"{self.variant}: nothing differs; called different in {share}; alpha is {self.predicted:g}"
        return (
            f"{self.variant}: found in {share}; predicted {self.predicted:.3f} "
            f"[{self.predicted_low:.3f}, {self.predicted_high:.3f}] from {self.pilot} other pairs "
            f"(difference {self.effect:+.4f}, sd {self.sd:.4f}); {self.wrong} of them on the wrong side"
        )


def calibrate(directory: Path | str, *, pairs: int = 4, pilot: int = 60) -> list[Calibration]:
    """One `Calibration` per variant of the finished study in `directory`, on its primary metric at its alpha.

    Args:
      pairs: seeds per comparison, as a small study would have.
      pilot: how many of the first seeds predict the power; they are in no comparison.

    Raises:
      UserError: if there is no such study, or it has too few seeds.
    """
    store = Store(directory)
    declaration = store.declaration()
    metric, baseline = declaration["metric"], declaration["baseline"]
    values: dict[str, dict[int, float | None]] = {}
    for run in store.runs():
        values.setdefault(run.label, {})[run.seed] = run.value(metric)
    seeds = sorted(values[baseline])
    if pairs < 2 or pilot < 2:
        raise UserError(f"--pairs={pairs}, --pilot={pilot}: give 2 or more")
    needed = pilot + _LEAST * pairs
    if len(seeds) < needed:
        raise UserError(
            f"{directory} has {len(seeds)} seeds: --pilot={pilot} and {_LEAST} comparisons of --pairs={pairs} need "
            f"{needed}, or their shares would say nothing"
        )
    gc.freeze()  # statsmodels' Holm correction collects garbage each time: hundreds of times through a large heap
    try:
        return [
            _calibrate(each["label"], set(each["overrides"]) <= _NULL, values, declaration, seeds, pairs, pilot)
            for each in declaration["variants"]
            if each["label"] != baseline
        ]
    finally:
        gc.unfreeze()


def as_markdown(found: Sequence[Calibration]) -> str:
    """The table of docs/calibration.md."""
    lines = [
        "| variant | pairs each | comparisons | called different | share [95 %] | expected [95 %] | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        s = each.different
        expected = f"{each.predicted:g}"
        if not each.null:
            expected = f"{each.predicted:.3f} [{each.predicted_low:.3f}, {each.predicted_high:.3f}]"
        lines.append(
            f"| {each.variant} | {each.pairs} | {s.n} | {s.found} | {s.value:.3f} [{s.low:.3f}, {s.high:.3f}] | "
            f"{expected} | {'yes' if each.holds else 'NO'} |"
        )
    return "\n".join(lines) + "\n"


def _calibrate(label, null, values, declaration, seeds, pairs, pilot) -> Calibration:
    baseline, direction, alpha = (declaration[key] for key in ("baseline", "direction", "alpha"))
    ours, theirs = values[label], values[baseline]
    rest = seeds[pilot:]
    groups = [rest[i : i + pairs] for i in range(0, len(rest) - pairs + 1, pairs)]
    verdicts = []
    for group in groups:
        part = {name: {seed: values[name].get(seed) for seed in group} for name in (baseline, label)}
        found = analyse([Measured(part, direction)], baseline, alpha, test=declaration["test"]).comparisons
        verdicts.append(found[0][0].verdict)
    tested = [verdict for verdict in verdicts if verdict != UNTESTED]
    if not tested:
        raise UserError(f"{label!r}: none of {len(groups)} comparisons could be tested")
    found = [verdict for verdict in tested if verdict in (BETTER, WORSE)]
    share = _share(len(found), len(tested))
    if null:
        return Calibration(label, True, pairs, share, len(found), *[math.nan] * 2, alpha, alpha, alpha, 0)
    differences = [ours[s] - theirs[s] for s in seeds[:pilot] if ours.get(s) is not None and theirs[s] is not None]
    effect, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    worse = (effect > 0) == (direction == "min")
    wrong = sum(verdict != (WORSE if worse else BETTER) for verdict in found)
    low, high = _power_interval(np.array(differences), pairs, alpha)
    predicted = power_of(effect, sd, pairs, alpha)
    return Calibration(label, False, pairs, share, wrong, effect, sd, predicted, low, high, len(differences))


def _power_interval(differences: np.ndarray, pairs: int, alpha: float) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the predicted power over the pilot's pairs."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(differences, (_RESAMPLES, len(differences)))
    drawn = [each for each in drawn if np.ptp(each) > 0]  # of a tiny pilot one pair may be all that is drawn
    powers = [power_of(float(each.mean()), float(each.std(ddof=1)), pairs, alpha) for each in drawn]
    low, high = np.quantile(powers, [0.025, 0.975])
    return float(low), float(high)


def _share(found: int, n: int) -> Share:
    low, high = proportion_confint(found, n, 0.05, method="beta")
    return Share(found, n, float(low), float(high))
