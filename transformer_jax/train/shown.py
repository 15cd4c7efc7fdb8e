"""What a line of progress shows of the metrics."""

import math
from collections.abc import Sequence

from transformer_jax.train.metrics import Progress

_SHOWN = {
    "train/loss": "loss",
    "valid/loss": "valid loss",
    "valid/bits_per_byte": "valid bits/byte",
    "train/model_flops_utilisation": "MFU",
}
_OF_TESTS = ("/loss", "/exact_match", "/bleu")


def show(progress: Progress, step: int, each: Sequence[dict[str, float]], speed: float | None = None) -> None:
    """A line of progress: the mean over members, and how many there are if there are several."""
    if not each:
        return
    tests = {key: key for key in each[0] if not key.startswith(("train/", "valid/")) and key.endswith(_OF_TESTS)}
    means = {name: _mean([values[key] for values in each]) for key, name in (_SHOWN | tests).items() if key in each[0]}
    shown = {name: mean for name, mean in means.items() if mean is not None}
    if speed is not None:
        shown["tokens/s"] = speed
    if not shown:
        return
    skipped = int(sum(values.get("train/skipped", 0.0) for values in each))
    note = f"  {skipped} updates skipped" if skipped else ""
    spikes = int(sum(values.get("train/spikes", 0.0) for values in each))
    note += f"  {spikes} spikes skipped" if spikes else ""
    if len(each) > 1:
        note = f"  (mean of {len(each)} runs){note}"
    progress.tick(step, shown, note)


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else math.fsum(values) / len(values)
