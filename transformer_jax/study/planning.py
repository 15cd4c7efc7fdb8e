"""`study power`: how many seeds a study would need, from the noise that it has shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.study.stats import Noise, PowerRow, paired_sd, power_of, power_table
from transformer_jax.study.stats.paired import sign_flip_pairs
from transformer_jax.study.store import Store


@dataclass(frozen=True)
class Plan:
    """Seeds that a study needs, as `study power` prints them.

    Attributes:
      metric: primary metric of the study.
      noise: standard deviation of a paired difference, and where it is from.
      seeds: that the study has.
      tests: comparisons that Holm's correction runs over.
      alpha, power: chances of a false finding in the whole study, and of finding a true effect.
      rows: effect -> seeds.
      now: effect -> the power that the study has as it is.
    """

    metric: str
    noise: Noise
    seeds: int
    tests: int
    alpha: float
    power: float
    rows: tuple[PowerRow, ...]
    now: tuple[float, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.metric}: sd of a paired difference {self.noise.sd:.4g} ({self.noise.source})",
            f"{self.tests} comparison{'s' * (self.tests != 1)}, alpha {self.alpha:g} for all of them together "
            f"(the first step of Holm's method: {self.alpha / self.tests:.2g} each), power {self.power:g}",
            "",
            f"{'effect':>12}{'in sds':>10}{'seeds needed':>15}{f'power with {self.seeds} seeds':>24}",
        ]
        for row, now in zip(self.rows, self.now, strict=True):
            needed = "over 10,000" if row.seeds is None else f"{row.seeds:,}"
            lines.append(f"{row.effect:12.4g}{row.in_sds:10.2f}{needed:>15}{now:24.2f}")
        return "\n".join(lines)


def power_of_study(directory: Path | str, *, effects: Sequence[float] | None = None, power: float = 0.8) -> Plan:
    """What the study in `directory` would need to find `effects`, differences in the metric's unit.

    The noise is that of the runs which have finished; the baseline and one variant, run to find out, are enough.
    Effects are multiples of the noise if none are given. Power is that of the paired t-test; where the sign-flip test
    decides, what is out of its reach for want of seeds has none.

    Raises:
      UserError: if there is no study, its runs show no noise yet, or an argument is out of range.
    """
    if not 0 < power < 1:
        raise UserError(f"--power={power}: give a number between 0 and 1, such as 0.8")
    for effect in effects or ():
        if not 0 < effect < math.inf:
            raise UserError(f"--effect={effect}: give a number above 0, in the metric's unit")
    store = Store(directory)
    declared = store.declaration()
    values: dict[str, dict[int, float | None]] = {each["label"]: {} for each in declared["variants"]}
    for run in store.runs():
        values[run.label][run.seed] = run.value(declared["metric"])
    noise = paired_sd(values, declared["baseline"])
    if not noise.sd > 0:
        raise UserError(f"{directory}: no noise is known yet; the baseline needs two finished seeds at least")
    tests, seeds, alpha = _tests(declared), len(declared["seeds"]), declared["alpha"]
    rows = tuple(power_table(noise.sd, alpha, tests, effects, power))
    now = tuple(power_of(row.effect, noise.sd, seeds, alpha, tests) for row in rows)
    if declared["test"] == "sign_flip":
        least = sign_flip_pairs(alpha / tests)
        rows = tuple(replace(row, seeds=_at_least(row.seeds, least)) for row in rows)
        now = now if least is not None and seeds >= least else (0.0,) * len(rows)
    return Plan(declared["metric"], noise, seeds, tests, alpha, power, rows, now)


def _tests(declared: dict) -> int:
    """Comparisons that Holm's correction runs over if all of them can be tested: as `stats.analyse` counts them."""
    metrics = [declared["metric"], *(each["metric"] for each in declared["also"])]
    labels, baseline = [each["label"] for each in declared["variants"]], declared["baseline"]
    pairs = {(metric, frozenset((label, baseline))) for metric in metrics for label in labels if label != baseline}
    for claim in declared["claims"]:
        pairs.add((claim["metric"] or declared["metric"], frozenset((claim["left"], claim["right"]))))
    return max(1, len(pairs))


def _at_least(seeds: int | None, least: int | None) -> int | None:
    """What the t-test would need, and the sign-flip test needs at the least; None if it can never decide."""
    return None if seeds is None or least is None else max(seeds, least)
