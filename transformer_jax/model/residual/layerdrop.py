"""Whole layers skipped at random in training."""

import jax
import jax.numpy as jnp

from transformer_jax.model.base import layer_key
from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("layerdrop")
class LayerDrop(PreNorm):
    """x + f(N(x)), N at the end; a training step skips each layer with `rate` (Fan et al. 2019, arXiv 1909.11556).

    One coin per layer and step, for the whole batch and all of the layer's sublayers. Nothing is rescaled, and
    evaluation uses every layer. A skipped layer is computed all the same, and not used.
    """

    rate: float = 0.1

    cost = "as pre"

    def problems(self):
        return [] if 0 <= self.rate < 1 else [f"rate={self.rate}: give 0 or more, below 1"]

    def __call__(self, stream, branch, *, layer):
        y_BLD = branch(self.normalise(stream))
        if layer.training:
            keep = jax.random.bernoulli(layer_key(layer, "layerdrop"), 1.0 - self.rate)
            y_BLD = jnp.where(keep, y_BLD, 0)
        return stream + y_BLD
