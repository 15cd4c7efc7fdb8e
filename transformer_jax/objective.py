"""What is minimised: weighted cross-entropy of the next token, as pure functions of logits and a Batch."""

import jax
import jax.numpy as jnp
from flax import struct

from transformer_jax.batch import Batch
from transformer_jax.shapes import Array, Bool, Float, Int, checked


@struct.dataclass
class Loss:
    """Sums over a batch, so that micro-batches, devices and evaluation batches add up exactly.

    Attributes:
      total: what is differentiated, in nats: cross-entropy of the (smoothed) targets + z-loss.
      nats: plain cross-entropy of the targets, which is reported.
      correct: how many targets had no token that was more likely.
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


@struct.dataclass
class Scores:
    """Of each target: `total_BL` and `nats_BL` as in `Loss`, and whether no token was more likely."""

    total_BL: Array
    nats_BL: Array
    hit_BL: Array


@checked
def scores(
    logits_BLV: Float[Array, "B L V"],
    targets_BL: Int[Array, "B L"],
    *,
    label_smoothing: float | Array | None = None,
    z_loss: float | Array | None = None,
    greedy: bool = False,
) -> Scores:
    """-log p(target) of each position.

    Args:
      label_smoothing: ε spread evenly over the vocabulary (Szegedy et al. 2016, sec. 7); None is off.
      z_loss: coefficient of (log Z)^2, which keeps logits from drifting (PaLM; Chowdhery et al. 2022, sec. 5);
        None is off.
      greedy: whether of equally likely tokens only the first is a hit, the one that greedy decoding writes.
    """
    log_z_BL, target_BL = log_z_and_target(logits_BLV, targets_BL)
    nats_BL = log_z_BL - target_BL
    total_BL = nats_BL
    if label_smoothing is not None:
        uniform_BL = log_z_BL - logits_BLV.mean(-1)
        total_BL = (1.0 - label_smoothing) * nats_BL + label_smoothing * uniform_BL
    if z_loss is not None:
        total_BL = total_BL + z_loss * jnp.square(log_z_BL)
    if greedy:
        hit_BL = jnp.argmax(logits_BLV, -1) == targets_BL
    else:  # the greatest logit is at hand; an argmax is another pass, and gathers a vocabulary that is sharded
        hit_BL = jax.lax.stop_gradient(target_BL) >= jax.lax.stop_gradient(logits_BLV).max(-1)
    return Scores(total_BL, nats_BL, hit_BL)


def summed(scored: Scores, batch: Batch) -> Loss:
    """Each target by its weight."""
    weights_BL = batch.weights_BL
    return Loss(
        total=jnp.sum(weights_BL * scored.total_BL),
        nats=jnp.sum(weights_BL * scored.nats_BL),
        correct=jnp.sum(weights_BL * scored.hit_BL),
        tokens=jnp.sum(weights_BL),
        bytes=jnp.sum(weights_BL * batch.bytes_BL),
    )


def cross_entropy(
    logits_BLV,
    batch: Batch,
    *,
    label_smoothing: float | Array | None = None,
    z_loss: float | Array | None = None,
) -> Loss:
    """-Σ w log p(target), one form for causal and for sequence-to-sequence models; see `scores`."""
    return summed(
        scores(logits_BLV, jnp.asarray(batch.targets_BL), label_smoothing=label_smoothing, z_loss=z_loss), batch
    )


@jax.custom_vjp
def log_z_and_target(logits_BLV, targets_BL):
    """(log Σ exp, the logit of the target) at each position.

    The gradient is made in one pass over the logits. Derived by JAX it takes another array of their size, into which
    it scatters that of the targets.
    """
    return _log_z_and_target(logits_BLV, targets_BL)


def _log_z_and_target(logits_BLV, targets_BL):
    target_BL = jnp.take_along_axis(logits_BLV, targets_BL[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits_BLV, axis=-1), target_BL


def _forward(logits_BLV, targets_BL):
    log_z_BL, target_BL = _log_z_and_target(logits_BLV, targets_BL)
    return (log_z_BL, target_BL), (logits_BLV, log_z_BL, targets_BL)


def _backward(kept, gradients):
    logits_BLV, log_z_BL, targets_BL = kept
    by_log_z_BL, by_target_BL = gradients
    p_BLV = jnp.exp(logits_BLV - log_z_BL[..., None])
    is_target_BLV = targets_BL[..., None] == jnp.arange(logits_BLV.shape[-1], dtype=targets_BL.dtype)
    by_logits_BLV = by_log_z_BL[..., None] * p_BLV + jnp.where(is_target_BLV, by_target_BL[..., None], 0.0)
    return by_logits_BLV.astype(logits_BLV.dtype), None


log_z_and_target.defvjp(_forward, _backward)


@checked
def exact_matches(hit_BL: Bool[Array, "B L"], batch: Batch) -> tuple[Array, Array]:
    """(exact, examples): in how many examples every weighted target is hit, and of how many.

    The model is fed the right targets up to each one. This counts what greedy decoding would get exactly
    right: up to its first miss, decoding feeds the model the same tokens, and after it the answer is wrong.
    An example is a segment of a row, so that examples that share a row count one by one; one without a
    weighted target is none.

    Args:
      hit_BL: of `Scores`.
    """
    counts_BL = batch.weights_BL > 0
    miss_BL = counts_BL & ~hit_BL
    rows, length = counts_BL.shape
    row_B1 = jnp.arange(rows)[:, None]

    def per_segment(flag_BL):
        return jnp.zeros((rows, length + 1), jnp.int32).at[row_B1, batch.segments_BL].add(flag_BL)

    asked_BS = per_segment(counts_BL) > 0
    exact_BS = asked_BS & (per_segment(miss_BL) == 0)
    return jnp.sum(exact_BS, dtype=jnp.float32), jnp.sum(asked_BS, dtype=jnp.float32)
