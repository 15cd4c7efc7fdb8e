"""Loss, bits per byte and accuracy of a split, from sums that add up exactly over batches."""

import math
from collections.abc import Iterable

import jax
import numpy as np

from transformer_jax.batch import Batch
from transformer_jax.objective import Loss
from transformer_jax.train.step import Program


def evaluate_loss(program: Program, params, batches: Iterable[Batch]) -> dict[str, float]:
    """`loss` in nats per target, `perplexity`, `accuracy`, and `bits_per_byte` of the original text."""
    sums = None
    for batch in batches:
        # Summed on the host in float64: float32 sums over a long split would lose digits.
        part = jax.tree.map(lambda x: np.float64(jax.device_get(x)), program.evaluate(params, place(program, batch)))
        sums = part if sums is None else jax.tree.map(np.add, sums, part)
    return summarise(sums)


def summarise(sums: Loss) -> dict[str, float]:
    """Means from sums."""
    tokens = float(max(sums.tokens, 1.0))
    values = {"loss": float(sums.nats) / tokens, "accuracy": float(sums.correct) / tokens}
    values["perplexity"] = math.exp(min(values["loss"], 700.0))
    if sums.bytes > 0:
        values["bits_per_byte"] = float(sums.nats) / math.log(2) / float(sums.bytes)
    return values


def place(program: Program, batch: Batch, leading: int = 0) -> Batch:
    """The global batch on the mesh, from this process's rows.

    Args:
      leading: unsharded axes before [B, L].
    """
    sharding = program.batch_sharding(leading)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)
