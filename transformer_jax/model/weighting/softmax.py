"""Softmax."""

from transformer_jax.model.attend import softmax
from transformer_jax.model.weighting.base import Weighting, weightings


@weightings.register("softmax")
class Softmax(Weighting):
    """w_m = exp(a_m) / Σ_n exp(a_n) (Vaswani et al. 2017, eq. 1)."""

    cost = "none beside the logits: fused kernels"

    fused = True

    def __call__(self, logits_BHLM, mask_B1LM, layer):
        return softmax(logits_BHLM, mask_B1LM)
