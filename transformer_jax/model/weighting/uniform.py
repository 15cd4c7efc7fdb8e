"""Equal weights."""

import jax.numpy as jnp

from transformer_jax.model.weighting.base import Weighting, weightings
from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def equal_weights(mask_B1LM: Bool[Array, "B 1 L M"]) -> Float[Array, "B 1 L M"]:
    """1 / n for the n keys that a query may see."""
    return mask_B1LM / jnp.maximum(mask_B1LM.sum(-1, keepdims=True), 1).astype(jnp.float32)


@weightings.register("uniform")
class Uniform(Weighting):
    """w_m = 1 / n for the n visible keys (Zhang, Xiong & Su 2018, arXiv 1805.00631, eq. 1).

    The control for what the choice of keys is worth: logits are not read, so queries, keys and whatever positions
    do to the logits learn nothing.
    """

    cost = "H L M weights in memory: no fused kernel"
    reads_logits = False

    def __call__(self, logits_BHLM, mask_B1LM, layer):
        return jnp.broadcast_to(equal_weights(mask_B1LM), logits_BHLM.shape)
