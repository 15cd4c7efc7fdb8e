"""Learned vectors for clipped distances, added to keys and values."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.position.base import Position, distance, positions
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def clipped_row(distance_BLM: Int[Array, "B L M"], clip: int) -> Int[Array, "B L M"]:
    """Row of the table for key position minus query position: clip(j - i, -c, c) + c."""
    return jnp.clip(distance_BLM, -clip, clip) + clip


@checked
def row_scores(
    q_BLHK: Float[Array, "B L H K"], table_CK: Float[Array, "C K"], row_BLM: Int[Array, "B L M"]
) -> Float[Array, "B H L M"]:
    """q_i . table[row_ij] / sqrt(K) in float32: each query meets each row once, and the pairs look that up."""
    each_BHLC = jnp.einsum("BLHK,CK->BHLC", q_BLHK, table_CK, preferred_element_type=jnp.float32)
    return jnp.take_along_axis(each_BHLC, row_BLM[:, None], axis=-1) * table_CK.shape[-1] ** -0.5


@checked
def row_values(
    weights_BHLM: Float[Array, "B H L M"], table_CK: Float[Array, "C K"], row_BLM: Int[Array, "B L M"]
) -> Float[Array, "B L H K"]:
    """Σ_j w_ij table[row_ij]: the weights of a row's pairs are summed up, then the rows are averaged with them."""
    H, C = weights_BHLM.shape[1], table_CK.shape[0]

    def sums(weights_HM, row_M):
        return jnp.zeros((H, C), weights_HM.dtype).at[:, row_M].add(weights_HM)

    sums_BHLC = jax.vmap(jax.vmap(sums, in_axes=(1, 0), out_axes=1))(weights_BHLM, row_BLM)
    return jnp.einsum("BHLC,CK->BLHK", sums_BHLC.astype(table_CK.dtype), table_CK)


@positions.register("shaw")
class Shaw(Position):
    """q_i (k_j + a^K_ij) / sqrt(K), Σ_j w_ij (v_j + a^V_ij) (Shaw et al. 2018, arXiv 1803.02155, eq. 3-4).

    a_ij = table[clip(j - i, -c, c)], tables of each layer, shared by its heads. The authors' form knows both
    directions; in a causal stack the rows for later keys stay unused.

    Attributes:
      clip: c, beyond which all distances share a vector.
      value_table: whether the values get one too; keys alone did as well in their sec. 4.3.
    """

    clip: int = 16
    value_table: bool = True

    relative = True
    cost = "H L (M + 2 clip) logits and weights a layer, gathered and summed up by distance"

    def problems(self) -> list[str]:
        return [] if self.clip >= 0 else [f"shaw(clip={self.clip}): give 0 or more"]

    def hooks(self) -> set[str]:
        # Without values nobody needs the weights, and a fused kernel may compute the rest.
        return super().hooks() - (set() if self.value_table else {"values"})

    def flops(self, length, memory_length, rows):
        tables = 2 if self.value_table else 1
        return 2.0 * tables * self.arch.dims.heads * self.arch.dims.head_size * length * (2 * self.clip + 1)

    @nn.compact
    def table(self, name: str, layer):
        shape = (2 * self.clip + 1, self.arch.dims.head_size)
        return self.weight(name, shape, ("buckets", "head_size"), nn.initializers.normal(0.02), layer)

    def scores(self, q_BLHK, k_BMHK, ctx, layer):
        return row_scores(q_BLHK, self.table("keys", layer), clipped_row(distance(ctx), self.clip))

    def values(self, weights_BHLM, ctx, layer):
        return row_values(weights_BHLM, self.table("values", layer), clipped_row(distance(ctx), self.clip))
