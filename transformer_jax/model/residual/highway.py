"""A learned gate between a branch and its skip."""

import jax
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.products import product
from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("highway")
class Highway(PreNorm):
    """g ⊙ f(N(x)) + (1 - g) ⊙ x, g = σ(x W + b), N at the end (Srivastava et al. 2015, arXiv 1505.00387, eq. 3).

    `bias` is where b starts: below 0 the skip prevails at first (their sec. 2.2). They have no norm.
    """

    bias: float = -1.0

    cost = "1 product with a D x D matrix per token and sublayer"

    @nn.compact
    def __call__(self, stream, branch, *, layer):
        D = stream.shape[-1]
        gate_DD = self.weight("gate", (D, D), ("width", None), fan_in(D), layer)
        bias_D = self.weight("gate_bias", (D,), ("norm",), nn.initializers.constant(self.bias))
        gate_BLD = jax.nn.sigmoid(product("BLD,DE->BLE", stream, gate_DD) + bias_D)
        return gate_BLD * branch(self.normalise(stream)) + (1.0 - gate_BLD) * stream
