"""Classification from the first token."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.head.base import Pooled, heads
from transformer_jax.model.products import product
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def first_of_segment(y_BLD: Float[Array, "B L D"], seg_BL: Int[Array, "B L"]) -> Float[Array, "B L D"]:
    """At every position the vector of the first token of its segment."""
    B, L = seg_BL.shape
    row_B1 = jnp.arange(B)[:, None]
    first_BS = jnp.full((B, L + 1), L, jnp.int32).at[row_B1, seg_BL].min(jnp.arange(L, dtype=jnp.int32))
    first_BL = jnp.take_along_axis(first_BS, seg_BL, axis=1)
    return jnp.take_along_axis(y_BLD, first_BL[..., None], axis=1)


@heads.register("first")
class First(Pooled):
    """W tanh(V y_1 + b) + c, y_1 of a segment's first token (Devlin et al. 2019, sec. 4.1 and code)."""

    cost = "products with D x D and D x C"

    @nn.compact
    def __call__(self, y_BLD, table_VD, seg_BL):
        D = self.arch.dims.width
        dense_DE = self.weight("dense", (D, D), ("width", None), fan_in(D))
        bias_E = self.weight("dense_bias", (D,), ("norm",), nn.initializers.zeros)
        pooled_BLE = jnp.tanh(product("BLD,DE->BLE", first_of_segment(y_BLD, seg_BL), dense_DE) + bias_E)
        return self.classify(pooled_BLE)

    def flops(self, length):
        return super().flops(length) + 2.0 * length * self.arch.dims.width**2
