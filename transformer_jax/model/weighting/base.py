"""The interface of a weighting."""

from transformer_jax.model.base import Layer, Part
from transformer_jax.registry import Registry

weightings = Registry("weights", "transformer_jax.model.weighting", base_fields=("arch",))


class Weighting(Part):
    """Logits to weights, by the attention that it belongs to.

    Attributes:
      fused: class attribute: whether the fused kernels compute this very function. Only softmax is.
    """

    fused = False

    def __call__(self, logits_BHLM, mask_B1LM, layer: Layer):
        """float32 weights_BHLM, 0 where the mask is False; a query that sees nothing may get any finite ones.

        Args:
          logits_BHLM: float32, scaled, with all biases; not masked yet.
        """
        raise NotImplementedError
