"""Pre-norm whose norms shrink with depth."""

import jax
import jax.numpy as jnp

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("ln_scaling")
class LNScaling(PreNorm):
    """x + f(N(x) / sqrt(l)) in layer l = 1, 2, …, and N at the end (Sun et al. 2025, arXiv 2502.05795)."""

    cost = "as pre"

    def __call__(self, stream, branch, *, layer):
        shrink = jax.lax.rsqrt((layer.index + 1).astype(jnp.float32)).astype(stream.dtype)
        return stream + branch(shrink * self.normalise(stream))
