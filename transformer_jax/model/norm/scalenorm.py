"""Normalisation to a learned length."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.norm.base import Norm, norms
from transformer_jax.shapes import Array, Float, checked


@checked
def scalenorm(x: Float[Array, "*B D"], scale: Float[Array, ""], eps: float):
    """scale * x / max(||x||, eps), over the last axis."""
    x32 = x.astype(jnp.float32)
    # The maximum of the squares: the root's gradient at 0 is infinite.
    square = jnp.maximum(jnp.square(x32).sum(-1, keepdims=True), eps**2)
    return (scale * x32 * jax.lax.rsqrt(square)).astype(x.dtype)


@norms.register("scalenorm")
class ScaleNorm(Norm):
    """g x / max(||x||, eps), one learned g, sqrt(D) at the start (Nguyen & Salazar 2019, arXiv 1910.05895)."""

    eps: float = 1e-5

    cost = "one sum over D, not two"

    @nn.compact
    def __call__(self, x_BLD):
        scale = self.weight("scale", (), (), nn.initializers.constant(x_BLD.shape[-1] ** 0.5))
        return scalenorm(x_BLD, scale, self.eps)
