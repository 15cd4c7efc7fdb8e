"""Softmax that can give nothing to any key."""

import jax.numpy as jnp

from transformer_jax.model.weighting.base import Weighting, softmax_beside, weightings


@weightings.register("softmax1")
class Softmax1(Weighting):
    """w_m = exp(a_m) / (1 + Σ_n exp(a_n)) (Miller 2023, 'Attention is off by one')."""

    cost = "H L M weights in memory: no fused kernel"

    def __call__(self, logits_BHLM, mask_B1LM, layer):
        return softmax_beside(logits_BHLM, mask_B1LM, jnp.zeros(logits_BHLM.shape[1], logits_BHLM.dtype))
