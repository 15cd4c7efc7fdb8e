"""The interface of a weighting, and the softmax that two of them share."""

import jax
import jax.numpy as jnp

from transformer_jax.model.base import Layer, Part
from transformer_jax.registry import Registry
from transformer_jax.shapes import Array, Bool, Float, checked

weightings = Registry("weights", "transformer_jax.model.weighting", base_fields=("arch",))


class Weighting(Part):
    """Logits to weights, by the attention that it belongs to.

    Attributes:
      fused: class attribute: whether the fused kernels compute this very function. Only softmax is.
      reads_logits: class attribute: whether the weights depend on the logits.
    """

    fused = False
    reads_logits = True

    def __call__(self, logits_BHLM, mask_B1LM, layer: Layer):
        """float32 weights_BHLM, 0 where the mask is False; a query that sees nothing may get any finite ones.

        Args:
          logits_BHLM: float32, scaled, with all biases; not masked yet.
        """
        raise NotImplementedError


@checked
def softmax_beside(
    logits_BHLM: Float[Array, "B H L M"], mask_B1LM: Bool[Array, "B 1 L M"], beside_H: Float[Array, " H"]
) -> Float[Array, "B H L M"]:
    """exp(a_m) / (exp(b) + Σ_n exp(a_n)) over the keys that the mask shows: b is the logit of a key without a value."""
    shown_BHLM = jnp.where(mask_B1LM, logits_BHLM, jnp.finfo(logits_BHLM.dtype).min)
    total_BHL1 = jax.nn.logsumexp(shown_BHLM, axis=-1, keepdims=True)
    return jnp.exp(shown_BHLM - jnp.logaddexp(total_BHL1, beside_H[:, None, None]))
