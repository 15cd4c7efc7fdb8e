"""Root-mean-square normalisation."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.norm.base import Norm, norms
from transformer_jax.shapes import Array, Float, checked


@checked
def rmsnorm(x: Float[Array, "*B D"], scale_D: Float[Array, " D"], eps: float):
    """x / sqrt(mean(x^2) + eps) * scale, over the last axis."""
    x32 = x.astype(jnp.float32)
    mean_square = jnp.square(x32).mean(-1, keepdims=True)
    return (x32 * jax.lax.rsqrt(mean_square + eps) * scale_D).astype(x.dtype)


@norms.register("rmsnorm")
class RMSNorm(Norm):
    """x / sqrt(mean(x^2) + eps) * g (Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4)."""

    eps: float = 1e-6

    cost = "one sum over D"

    @nn.compact
    def __call__(self, x_BLD):
        scale_D = self.weight("scale", (x_BLD.shape[-1],), ("norm",), nn.initializers.ones)
        return rmsnorm(x_BLD, scale_D, self.eps)
