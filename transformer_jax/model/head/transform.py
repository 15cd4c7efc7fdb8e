"""BERT's head for masked tokens."""

import jax
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.head.base import Head, heads
from transformer_jax.model.norm import norms
from transformer_jax.model.products import product


@heads.register("transform")
class Transform(Head):
    """E N(gelu(y W + b)) + c (Devlin et al. 2019, code), N the norm of the model.

    Attributes:
      bias: whether there is c; b is there whatever `model.bias` says.
      approximate: the tanh form of gelu.
    """

    bias: bool = True
    approximate: bool = False

    cost = "products with D x D and D x V"

    @nn.compact
    def __call__(self, y_BLD, table_VD, seg_BL):
        D = self.arch.dims.width
        dense_DE = self.weight("dense", (D, D), ("width", None), fan_in(D))
        h_BLE = product("BLD,DE->BLE", y_BLD, dense_DE) + self.weight(
            "dense_bias", (D,), ("norm",), nn.initializers.zeros
        )
        h_BLE = jax.nn.gelu(h_BLE, approximate=self.approximate)
        h_BLE = norms.build(self.arch.parts.norm, arch=self.arch, name="norm")(h_BLE)
        logits_BLV = self.over_vocabulary(h_BLE, table_VD)
        return logits_BLV + self.token_bias() if self.bias else logits_BLV

    def flops(self, length):
        return 2.0 * length * self.arch.dims.width * (self.arch.dims.width + self.arch.dims.vocab_rows)
