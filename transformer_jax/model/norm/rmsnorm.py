"""Root-mean-square normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.norm.base import Norm, norms
from transformer_jax.model.products import keeping_inputs
from transformer_jax.shapes import Array, Float, checked


@checked
def rmsnorm(x: Float[Array, "*B D"], scale_D: Float[Array, " D"], eps: float):
    """x / sqrt(mean(x^2) + eps) * scale, over the last axis."""
    x32 = x.astype(jnp.float32)
    mean_square = jnp.square(x32).mean(-1, keepdims=True)
    return (x32 * jax.lax.rsqrt(mean_square + eps) * scale_D).astype(x.dtype)


@norms.register("rmsnorm")
class RMSNorm(Norm):
    """x / sqrt(mean(x^2) + eps) * g (Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4).

    Attributes:
      centred: what is learned is g - 1, from 0 on (Gemma, 2024, code), so that weight decay pulls g to 1.
    """

    eps: float = 1e-6
    centred: bool = False

    cost = "one sum over D"

    @nn.compact
    def __call__(self, x_BLD):
        start = nn.initializers.zeros if self.centred else nn.initializers.ones
        dtype = jnp.float32 if self.centred else None  # 1 + g would lose the digits of a small g
        scale_D = self.weight("scale", (x_BLD.shape[-1],), ("norm",), start, dtype=dtype)
        return keeping_inputs(partial(rmsnorm, eps=self.eps))(x_BLD, 1.0 + scale_D if self.centred else scale_D)
