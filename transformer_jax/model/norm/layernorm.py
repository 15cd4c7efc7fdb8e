"""Layer normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.norm.base import Norm, norms
from transformer_jax.model.products import keeping_inputs
from transformer_jax.shapes import Array, Float, checked


@checked
def layernorm(x: Float[Array, "*B D"], scale_D: Float[Array, " D"], shift_D: Float[Array, " D"], eps: float):
    """(x - mean) / sqrt(var + eps) * scale + shift, over the last axis."""
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    var = jnp.square(x32 - mean).mean(-1, keepdims=True)
    return ((x32 - mean) * jax.lax.rsqrt(var + eps) * scale_D + shift_D).astype(x.dtype)


@norms.register("layernorm")
class LayerNorm(Norm):
    """(x - mean) / sqrt(var + eps) * g + b (Ba et al. 2016, arXiv 1607.06450, eq. 4)."""

    eps: float = 1e-5

    cost = "two sums over D"

    @nn.compact
    def __call__(self, x_BLD):
        D = x_BLD.shape[-1]
        scale_D = self.weight("scale", (D,), ("norm",), nn.initializers.ones)
        shift_D = self.weight("shift", (D,), ("norm",), nn.initializers.zeros)
        return keeping_inputs(partial(layernorm, eps=self.eps))(x_BLD, scale_D, shift_D)
