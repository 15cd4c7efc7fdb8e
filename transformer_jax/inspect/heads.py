"""What masks of heads tell about a trained model: one compiled program takes them all."""

from collections.abc import Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.batch import Batch
from transformer_jax.model.heads import Head, Masks, heads_in, present, without
from transformer_jax.objective import cross_entropy


def losses(model, params, batches: Iterable[Batch], masks: Sequence[Masks]) -> np.ndarray:
    """Nats per target under each mask, by one program for all of them.

    Args:
      model: a family; `params`: as trained.
    """
    masks_R = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), *masks)
    nats_R, tokens = np.zeros(len(masks)), 0.0
    for batch in batches:
        nats_R += np.asarray(_nats(model, params, _on_device(batch), masks_R), np.float64)
        tokens += float(np.sum(batch.weights_BL))
    return nats_R / tokens


def leave_one_out(model, params, batches: Sequence[Batch]) -> dict[Head, float]:
    """How much the loss (nats per target) rises when one head is removed (Michel et al. 2019, sec. 3.2)."""
    everything = present(model.arch)
    heads = heads_in(everything)
    found = losses(model, params, batches, [everything, *(without(everything, [head]) for head in heads)])
    return {head: float(loss - found[0]) for head, loss in zip(heads, found[1:], strict=True)}


def importance(model, params, batches: Iterable[Batch], *, normalise: bool = True) -> dict[Head, float]:
    """I_h = E_x |∂L(x) / ∂ξ_h|, ξ_h the head's mask at 1 (Michel et al. 2019, arXiv 1905.10650, eq. 2).

    Args:
      batches: each row is an x, and L(x) its loss in nats per target.
      normalise: divides by the l2 norm over the heads of a layer (their sec. 4.1).
    """
    everything = present(model.arch)
    total, rows = jax.tree.map(np.zeros_like, everything), 0.0
    for batch in batches:
        grads = _mask_gradients(model, params, _on_device(batch), jax.tree.map(jnp.asarray, everything))
        total = jax.tree.map(lambda sum_NH, grad_NH: sum_NH + np.asarray(grad_NH), total, grads)
        rows += float((np.asarray(batch.weights_BL).sum(-1) > 0).sum())
    mean = jax.tree.map(lambda sum_NH: sum_NH / rows, total)
    if normalise:
        mean = jax.tree.map(lambda x_NH: x_NH / np.maximum(np.linalg.norm(x_NH, axis=1, keepdims=True), 1e-20), mean)
    return {head: float(mean[head.stack][head.sublayer][head.layer, head.head]) for head in heads_in(everything)}


def removal_curve(model, params, batches: Sequence[Batch], order: Sequence[Head]) -> np.ndarray:
    """The loss with the first 0, 1, 2, … heads of `order` removed."""
    everything = present(model.arch)
    return losses(model, params, batches, [without(everything, order[:n]) for n in range(len(order) + 1)])


@partial(jax.jit, static_argnums=0)
def _nats(model, params, batch: Batch, masks_R):
    def one(masks):
        return cross_entropy(model.apply({"params": params}, batch, heads=masks), batch).nats

    return jax.lax.map(one, masks_R)


@partial(jax.jit, static_argnums=0)
def _mask_gradients(model, params, batch: Batch, masks):
    """Σ_rows |∂ loss of the row / ∂ mask|."""

    def loss(masks, row: Batch):
        one = jax.tree.map(lambda x: x[None], row)
        sums = cross_entropy(model.apply({"params": params}, one, heads=masks), one)
        return sums.nats / jnp.maximum(sums.tokens, 1.0)

    grads = jax.vmap(jax.grad(loss), (None, 0))(masks, batch)
    return jax.tree.map(lambda grad_BNH: jnp.abs(grad_BNH).sum(0), grads)


def _on_device(batch: Batch) -> Batch:
    return jax.tree.map(jnp.asarray, batch)
