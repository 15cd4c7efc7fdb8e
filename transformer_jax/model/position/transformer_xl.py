"""Transformer-XL's relative positions."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.position.base import Position, distance, positions
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def waves(distance_R: Int[Array, " R"], width: int) -> Float[Array, "R D"]:
    """[sin(r w), cos(r w)] with rates w_t = 10000^(-2t/D): all sines, then all cosines, in float32."""
    rate_I = 1e4 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angle_RI = distance_R[:, None].astype(jnp.float32) * rate_I
    return jnp.concatenate([jnp.sin(angle_RI), jnp.cos(angle_RI)], -1)


@checked
def distance_scores(
    q_BLHK: Float[Array, "B L H K"],
    k_BMHK: Float[Array, "B M H K"],
    table_RHK: Float[Array, "R H K"],
    row_BLM: Int[Array, "B L M"],
    u_HK: Float[Array, "H K"],
    v_HK: Float[Array, "H K"],
) -> Float[Array, "B H L M"]:
    """(u . k_j + (q_i + v) . table[row_ij]) / sqrt(K) in float32; q_i . k_j is attention's own."""
    keys_BHM = jnp.einsum("HK,BMHK->BHM", u_HK, k_BMHK, preferred_element_type=jnp.float32)
    each_BHLR = jnp.einsum("BLHK,RHK->BHLR", q_BLHK + v_HK, table_RHK, preferred_element_type=jnp.float32)
    pairs_BHLM = jnp.take_along_axis(each_BHLR, row_BLM[:, None], axis=-1)
    return (keys_BHM[:, :, None] + pairs_BHLM) * u_HK.shape[-1] ** -0.5


@positions.register("transformer_xl")
class TransformerXL(Position):
    """((q + u) k_j + (q + v) W_R s(i - j)) / sqrt(K), s sinusoids (Dai et al. 2019, arXiv 1901.02860, sec. 3.3).

    The authors have a causal stack; s is odd in its sines, so an encoder tells both directions apart (XLNet
    uses it so). A segment's distances are smaller than the number of its slots: the table holds just these.
    """

    relative = True
    cost = "q times all distances: 2 H L M K FLOPs and H L M scores a layer (twice that in an encoder)"

    def problems(self) -> list[str]:
        D = self.arch.dims.width
        return [f"transformer_xl pairs sines with cosines: model.width={D} must be even"] if D % 2 else []

    def once(self, ctx):
        """The waves of all distances, and which row each pair reads; pairs that are masked may read any."""
        slots = ctx.kpos_BM.shape[1]
        lowest = 0 if self.causal else 1 - slots
        waves_RD = waves(jnp.arange(lowest, slots), self.arch.dims.width).astype(self.dtype)
        return waves_RD, jnp.clip(-distance(ctx), lowest, slots - 1) - lowest

    def flops(self, length, memory_length, rows):
        D, HK = self.arch.dims.width, self.arch.dims.heads * self.arch.dims.head_size
        distances = memory_length if self.causal else 2 * memory_length - 1
        # The table is of the whole batch, and its waves need no gradient, a third of what the others have in all.
        table = 2.0 * distances * D * HK * (2 / 3) / rows
        return 2.0 * HK * (length * distances + memory_length) + table

    @nn.compact
    def scores(self, q_BLHK, k_BMHK, ctx, layer):
        waves_RD, row_BLM = ctx.once
        D, H, K = self.arch.dims.width, self.arch.dims.heads, self.arch.dims.head_size
        small = nn.initializers.normal(0.02)
        position_DHK = self.weight("position", (D, H, K), ("width", "heads", "head_size"), fan_in(D), layer)
        u_HK = self.weight("u", (H, K), ("heads", "head_size"), small, layer)
        v_HK = self.weight("v", (H, K), ("heads", "head_size"), small, layer)
        table_RHK = jnp.einsum("RD,DHK->RHK", waves_RD, position_DHK)
        return distance_scores(q_BLHK, k_BMHK, table_RHK, row_BLM, u_HK, v_HK)
