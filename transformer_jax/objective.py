"""What is minimised: weighted cross-entropy of the next token, as a pure function of logits and a Batch."""

import jax
import jax.numpy as jnp
from flax import struct

from transformer_jax.batch import Batch
from transformer_jax.shapes import Array, Float, checked


@struct.dataclass
class Loss:
    """Sums over a batch, so that micro-batches, devices and evaluation batches add up exactly.

    Attributes:
      total: what is differentiated, in nats: cross-entropy of the (smoothed) targets + z-loss.
      nats: plain cross-entropy of the targets, which is reported.
      correct: how many targets were the most likely token.
      tokens: the sum of the weights.
      bytes: how many bytes of text the weighted targets stand for.
      exact, examples: as `exact_matches` counts them; None in training, which does not count them.
    """

    total: Array
    nats: Array
    correct: Array
    tokens: Array
    bytes: Array
    exact: Array | None = None
    examples: Array | None = None

    def __add__(self, other: "Loss") -> "Loss":
        return jax.tree.map(jnp.add, self, other)


@checked
def cross_entropy(
    logits_BLV: Float[Array, "B L V"],
    batch: Batch,
    *,
    label_smoothing: float | Array | None = None,
    z_loss: float | Array | None = None,
) -> Loss:
    """-Σ w log p(target), one form for causal and for sequence-to-sequence models.

    Args:
      label_smoothing: ε spread evenly over the vocabulary (Szegedy et al. 2016, sec. 7); None is off.
      z_loss: coefficient of (log Z)^2, which keeps logits from drifting (PaLM; Chowdhery et al. 2022, sec. 5);
        None is off.
    """
    log_z_BL = jax.nn.logsumexp(logits_BLV, axis=-1)
    target_BL = jnp.take_along_axis(logits_BLV, batch.targets_BL[..., None], axis=-1)[..., 0]
    nats_BL = log_z_BL - target_BL
    total_BL = nats_BL
    if label_smoothing is not None:
        uniform_BL = log_z_BL - logits_BLV.mean(-1)
        total_BL = (1.0 - label_smoothing) * nats_BL + label_smoothing * uniform_BL
    if z_loss is not None:
        total_BL = total_BL + z_loss * jnp.square(log_z_BL)
    weights_BL = batch.weights_BL
    hit_BL = jnp.argmax(logits_BLV, -1) == batch.targets_BL
    return Loss(
        total=jnp.sum(weights_BL * total_BL),
        nats=jnp.sum(weights_BL * nats_BL),
        correct=jnp.sum(weights_BL * hit_BL),
        tokens=jnp.sum(weights_BL),
        bytes=jnp.sum(weights_BL * batch.bytes_BL),
    )


@checked
def exact_matches(logits_BLV: Float[Array, "B L V"], batch: Batch) -> tuple[Array, Array]:
    """(exact, examples): in how many examples every weighted target is the most likely token, and of how many.

    The model is fed the right targets up to each one. This counts what greedy decoding would get exactly
    right: up to its first miss, decoding feeds the model the same tokens, and after it the answer is wrong.
    An example is a segment of a row, so that examples that share a row count one by one; one without a
    weighted target is none.
    """
    counts_BL = batch.weights_BL > 0
    miss_BL = counts_BL & (jnp.argmax(logits_BLV, -1) != batch.targets_BL)
    rows, length = counts_BL.shape
    row_B1 = jnp.arange(rows)[:, None]

    def per_segment(flag_BL):
        return jnp.zeros((rows, length + 1), jnp.int32).at[row_B1, batch.segments_BL].add(flag_BL)

    asked_BS = per_segment(counts_BL) > 0
    exact_BS = asked_BS & (per_segment(miss_BL) == 0)
    return jnp.sum(exact_BS, dtype=jnp.float32), jnp.sum(asked_BS, dtype=jnp.float32)
