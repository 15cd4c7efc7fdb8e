"""Contextual positions: a query counts those keys that it chooses to."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.attend import scaled_logits
from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def counts(
    logits_BHLM: Float[Array, "B H L M"], mask_B1LM: Bool[Array, "B 1 L M"], largest: int
) -> Float[Array, "B H L M"]:
    """p_ij = min(Σ_{t = j..i} σ(logit_it), largest) over the keys that the mask shows.

    Keys of a segment lie in the order of their positions, so the sum runs over slots from the back.
    """
    gates_BHLM = jnp.where(mask_B1LM, jax.nn.sigmoid(logits_BHLM), 0.0)
    return jnp.minimum(jax.lax.cumsum(gates_BHLM, axis=3, reverse=True), largest)


@checked
def interpolated(each_BHLP: Float[Array, "B H L P"], count_BHLM: Float[Array, "B H L M"]) -> Float[Array, "B H L M"]:
    """Entry `count` of the last axis, linear between whole numbers; its end is the upper of the last two."""
    below_BHLM = jnp.minimum(jnp.floor(count_BHLM), each_BHLP.shape[-1] - 2)
    part_BHLM = count_BHLM - below_BHLM
    # Both look-ups read with the same indices, of which the backward pass wants several copies.
    index_BHLM = below_BHLM.astype(jnp.int32)
    low_BHLM = jnp.take_along_axis(each_BHLP[..., :-1], index_BHLM, axis=-1)
    high_BHLM = jnp.take_along_axis(each_BHLP[..., 1:], index_BHLM, axis=-1)
    return part_BHLM * high_BHLM + (1 - part_BHLM) * low_BHLM


@positions.register("cope")
class Cope(Position):
    """Logits + q_i e[p_ij], p_ij = Σ_{t=j..i} σ(q_i k_t / sqrt(K)) (Golovneva et al. 2024, arXiv 2405.18719, eq. 3-6).

    e[p] is interpolated between whole numbers. As in the paper p ends at max_positions - 1, so it is defined at
    any length, and q e is not scaled. The table of each layer is shared by its heads and starts at 0.
    """

    max_positions: int = 64

    relative = True
    cost = "q k^T once more, and look-ups of H L M pairs, in training with some 10 H L M floats a layer"

    def problems(self) -> list[str]:
        found = []
        if not self.causal:
            found.append("cope counts keys up to the query, which an encoder does not have: take another there")
        if self.max_positions < 2:
            found.append(f"cope(max_positions={self.max_positions}): give at least 2")
        return found

    def flops(self, length, memory_length, rows):
        per_query = memory_length + self.max_positions
        return 2.0 * self.arch.dims.heads * self.arch.dims.head_size * length * per_query

    @nn.compact
    def scores(self, q_BLHK, k_BMHK, ctx, layer):
        shape = (self.max_positions, self.arch.dims.head_size)
        table_PK = self.weight("embeddings", shape, ("positions", "head_size"), nn.initializers.zeros, layer)
        count_BHLM = counts(scaled_logits(q_BLHK, k_BMHK), ctx.mask_B1LM, self.max_positions - 1)
        each_BHLP = jnp.einsum("BLHK,PK->BHLP", q_BLHK, table_PK, preferred_element_type=jnp.float32)
        return interpolated(each_BHLP, count_BHLM)
