"""Softmax with a learned sink."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.weighting.base import Weighting, softmax_beside, weightings


@weightings.register("sink")
class Sink(Weighting):
    """w_m = exp(a_m) / (exp(s_h) + Σ_n exp(a_n)), s_h learned from 0 (gpt-oss, OpenAI 2025, arXiv 2508.10925)."""

    cost = "H parameters, H L M weights in memory: no fused kernel"

    @nn.compact
    def __call__(self, logits_BHLM, mask_B1LM, layer):
        sink_H = self.weight("sink", (logits_BHLM.shape[1],), ("heads",), nn.initializers.zeros)
        return softmax_beside(logits_BHLM, mask_B1LM, sink_H.astype(jnp.float32))
