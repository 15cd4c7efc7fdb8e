"""Swin v2's continuous position bias over logarithmic distances."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def continuous_bias(
    distance_R: Int[Array, " R"],
    hidden_1U: Float[Array, "1 U"],
    hidden_bias_U: Float[Array, " U"],
    out_UH: Float[Array, "U H"],
) -> Float[Array, "R H"]:
    """16 σ(relu(s W_1 + b_1) W_2), s = sign(r) log_8(1 + |r|)."""
    r_R = distance_R.astype(jnp.float32)
    s_R1 = (jnp.sign(r_R) * jnp.log1p(jnp.abs(r_R)) / jnp.log(8.0))[:, None]
    units_RU = jax.nn.relu(s_R1 * hidden_1U + hidden_bias_U)
    return 16 * jax.nn.sigmoid(units_RU @ out_UH)


@positions.register("log_cpb")
class LogCPB(Position):
    """Logits + 16 σ(MLP_h(sign(i-j) log_8(1 + |i-j|))) (Liu et al. 2022, Swin v2, arXiv 2111.09883, sec. 3.3).

    One MLP for all layers. The authors' vision model looks both ways, and so does this: the sign tells
    directions apart. They first divide distances by the size of the window; text has none, so we do not.

    Attributes:
      hidden: units of the MLP.
    """

    hidden: int = 512

    relative = True
    cost = "H L M bias and an MLP for each distance, once per stack"

    def problems(self) -> list[str]:
        return [] if self.hidden >= 1 else [f"log_cpb(hidden={self.hidden}): give at least 1"]

    def flops_once(self, length, memory_length, rows):
        return 2.0 * self.hidden * self.arch.dims.heads * (2 * memory_length - 1) / rows

    @nn.compact
    def bias(self, qpos_BL, kpos_BM):
        U, H = self.hidden, self.arch.dims.heads
        small = nn.initializers.normal(0.02)
        hidden_1U = self.weight("hidden", (1, U), (None, None), small)
        hidden_bias_U = self.weight("hidden_bias", (U,), (None,), nn.initializers.zeros)
        out_UH = self.weight("out", (U, H), (None, "heads"), small)
        mlp = (weight.astype(jnp.float32) for weight in (hidden_1U, hidden_bias_U, out_UH))
        # A segment's distances are smaller than the number of its slots; pairs that are masked may get any.
        furthest = kpos_BM.shape[1] - 1
        table_RH = continuous_bias(jnp.arange(-furthest, furthest + 1), *mlp)
        distance_BLM = jnp.clip(qpos_BL[:, :, None] - kpos_BM[:, None, :], -furthest, furthest)
        return jnp.einsum("BLMH->BHLM", table_RH[distance_BLM + furthest])
