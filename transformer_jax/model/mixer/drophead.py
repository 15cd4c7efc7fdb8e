"""Heads dropped in training."""

import jax
import jax.numpy as jnp

from transformer_jax.model.base import layer_key
from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.mixer.base import mixers
from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def drop_heads(heads_BLHK: Float[Array, "B L H K"], keep_BH: Bool[Array, "B H"]) -> Float[Array, "B L H K"]:
    """The kept heads times H / their number, 0 for the others; 0 altogether where none is kept."""
    factor_BH = keep_BH * (keep_BH.shape[1] / jnp.maximum(keep_BH.sum(1, keepdims=True), 1))
    return heads_BLHK * factor_BH[:, None, :, None].astype(heads_BLHK.dtype)


@mixers.register("drophead")
class DropHead(Attention):
    """Training: ξ_h head_h H / Σ ξ, ξ_h ~ Bernoulli(1 - rate), per row (Zhou et al. 2020, arXiv 2004.13342, sec. 3).

    Outside training it is multi-head attention. The paper's schedule of the rate is left out.
    """

    rate: float = 0.2

    cost = "nothing"

    def problems(self):
        found = super().problems()
        if not 0 <= self.rate < 1:
            found.append(f"rate={self.rate}: give 0 or more, below 1")
        return found

    def finish(self, heads_BLHK, x_BLD, layer):
        if not layer.training:
            return heads_BLHK
        key = layer_key(layer, "drophead", "cross" if self.crossing else "attention")
        B, _, H, _ = heads_BLHK.shape
        return drop_heads(heads_BLHK, jax.random.bernoulli(key, 1.0 - self.rate, (B, H)))
