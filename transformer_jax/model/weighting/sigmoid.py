"""Each key by itself."""

import jax
import jax.numpy as jnp

from transformer_jax.model.weighting.base import Weighting, weightings
from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def sigmoid_weights(
    logits_BHLM: Float[Array, "B H L M"], mask_B1LM: Bool[Array, "B 1 L M"], bias: float | None
) -> Float[Array, "B H L M"]:
    """σ(a + b) for the keys that the mask shows; without a `bias`, b = -log n for the n of them."""
    if bias is None:
        bias = -jnp.log(jnp.maximum(mask_B1LM.sum(-1, keepdims=True), 1).astype(jnp.float32))
    return jnp.where(mask_B1LM, jax.nn.sigmoid(logits_BHLM + bias), 0.0)


@weightings.register("sigmoid")
class Sigmoid(Weighting):
    """w_m = σ(a_m + b), b = -log n (Ramapuram et al. 2024, arXiv 2409.04431, sec. 2 and 3).

    The paper's n is the length of the row. Here it is the number of keys that the query may see, so that the
    weights add up to about 1 at each position, and packing and padding change nothing.

    Attributes:
      bias: b; None for -log n.
    """

    bias: float | None = None

    cost = "H L M weights in memory: no fused kernel"

    def __call__(self, logits_BHLM, mask_B1LM, layer):
        return sigmoid_weights(logits_BHLM, mask_B1LM, self.bias)
