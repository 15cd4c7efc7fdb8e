"""An elementwise squashing in place of a normalisation."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.norm.base import Norm, norms
from transformer_jax.shapes import Array, Float, checked


@checked
def dyt(x: Float[Array, "*B D"], alpha: Float[Array, ""], scale_D: Float[Array, " D"], shift_D: Float[Array, " D"]):
    """scale * tanh(alpha x) + shift."""
    return (scale_D * jnp.tanh(alpha * x.astype(jnp.float32)) + shift_D).astype(x.dtype)


@norms.register("dyt")
class DyT(Norm):
    """g tanh(α x) + b, one learned α: no statistics of x are taken (Zhu et al. 2025, arXiv 2503.10622, sec. 4)."""

    alpha: float = 0.5

    cost = "no sum over D"

    @nn.compact
    def __call__(self, x_BLD):
        D = x_BLD.shape[-1]
        alpha = self.weight("alpha", (), (), nn.initializers.constant(self.alpha))
        scale_D = self.weight("scale", (D,), ("norm",), nn.initializers.ones)
        shift_D = self.weight("shift", (D,), ("norm",), nn.initializers.zeros)
        return dyt(x_BLD, alpha, scale_D, shift_D)

    def problems(self):
        return [] if self.alpha > 0 else [f"alpha={self.alpha}: give a number above 0"]
