"""`BatchLoss`: the loss of a model on a batch, from all of its logits or from those of some positions at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp

from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.model.base import constrain
from transformer_jax.model.family import families
from transformer_jax.model.head import heads as head_registry
from transformer_jax.objective import Loss, Scores, scores, summed
from transformer_jax.shapes import Array


@dataclass(frozen=True)
class BatchLoss:
    """`model.logits_chunks` says how often the logits are made, each time for as many of the positions."""

    arch: Arch

    @cached_property
    def model(self):
        """The whole model, which returns logits."""
        return families.build(self.arch.family, arch=self.arch)

    @cached_property
    def body(self):
        """The model without its head."""
        return families.build(self.arch.family, arch=self.arch, headless=True)

    def __call__(
        self, params: dict, batch: Batch, *, label_smoothing=None, z_loss=None, greedy=False, **options
    ) -> tuple[Loss, Scores, dict]:
        """(sums, of each target, collections that were asked for by `mutable`).

        Args:
          label_smoothing, z_loss, greedy: as `scores` takes them.
          options: of the model's `apply`.
        """
        options = {"mutable": [], **options}
        smoothing = {"label_smoothing": label_smoothing, "z_loss": z_loss}
        count = self.arch.execution.logits_chunks
        if count == 1:
            logits_BLV, aside = self.model.apply({"params": params}, batch, **options)
            scored = scores(logits_BLV, batch.targets_BL, greedy=greedy, **smoothing)
            return summed(scored, batch), scored, aside
        (y_BLD, table_VD), aside = self.body.apply({"params": params}, batch, **options)
        head = head_registry.build(self.arch.parts.head, arch=self.arch, parent=None)

        def scored_chunk(weights, y_BlD, rest):
            targets_Bl, weights_Bl, segments_Bl = rest
            own, table_VD, smoothing = weights
            logits_BlV = head.apply({"params": own}, y_BlD, table_VD, segments_Bl)
            scored = scores(logits_BlV, targets_Bl, greedy=greedy, **smoothing)
            return jnp.sum(weights_Bl * scored.total_BL), (scored.nats_BL, scored.hit_BL)

        weights = (params.get("head", {}), table_VD, smoothing)
        rest = tuple(chunked(x, count) for x in (batch.targets_BL, batch.weights_BL, batch.segments_BL))
        total, (nats_CBl, hit_CBl) = over_chunks(scored_chunk, weights, chunked(y_BLD, count), rest)
        nats_BL, hit_BL = whole(nats_CBl), whole(hit_CBl)
        scored = Scores(nats_BL, nats_BL, hit_BL)
        return summed(scored, batch).replace(total=total), scored, aside


def mean_by_name(tree) -> dict[str, Array]:
    """What modules reported under one name, averaged over layers and modules: `{'ffn/router_entropy': …}`."""
    found: dict[str, list] = {}
    for path, value in jax.tree_util.tree_leaves_with_path(tree):
        name = "/".join(part.key for part in path[-2:])
        found.setdefault(name, []).append(jnp.mean(value))
    return {name: jnp.mean(jnp.stack(values)) for name, values in sorted(found.items())}


def chunked(x: Array, count: int) -> Array:
    """[B, L, …] -> [count, B, L / count, …]: every `count`th position, so that each device keeps its own."""
    B, L = x.shape[:2]
    x = jnp.moveaxis(x.reshape(B, L // count, count, *x.shape[2:]), 2, 0)
    return constrain(x, None, "act_batch", "act_length", *(None,) * (x.ndim - 3))


def whole(x_CBl: Array) -> Array:
    """What `chunked` was given."""
    x_BlC = jnp.moveaxis(x_CBl, 0, 2)
    return constrain(x_BlC.reshape(x_BlC.shape[0], -1), "act_batch", "act_length")


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def over_chunks(function: Callable, weights, y_CBlD, rest):
    """(Σ total, stacked aside) of `function(weights, y_BlD, rest) -> (total, aside)` over the chunks.

    Only the sum may be differentiated, by `weights` and `y_CBlD`. Its gradient is made together with it, chunk by
    chunk, so that nothing of a chunk need be kept, or computed again: all that can follow is a factor.
    """

    def add(total, chunk):
        more, aside = function(weights, *chunk)
        return total + more, aside

    return jax.lax.scan(add, jnp.float32(0), (y_CBlD, rest))


def _forward(function, weights, y_CBlD, rest):
    gradient = jax.value_and_grad(function, argnums=(0, 1), has_aux=True)

    def add(carry, chunk):
        total, by_weights = carry
        (more, aside), (of_weights, by_y_BlD) = gradient(weights, *chunk)
        return (total + more, jax.tree.map(jnp.add, by_weights, of_weights)), (aside, by_y_BlD)

    # Sums in float32 whatever the weights are in: rounded once, not once a chunk.
    zeros = jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), jnp.float32), weights)
    (total, by_weights), (aside, by_y_CBlD) = jax.lax.scan(add, (jnp.float32(0), zeros), (y_CBlD, rest))
    by_weights = jax.tree.map(lambda sum, x: sum.astype(jnp.result_type(x)), by_weights, weights)
    return (total, aside), (by_weights, by_y_CBlD)


def _backward(function, gradients, factors):
    by_weights, by_y_CBlD = jax.tree.map(lambda x: (factors[0] * x).astype(x.dtype), gradients)
    return by_weights, by_y_CBlD, None


over_chunks.defvjp(_forward, _backward)
