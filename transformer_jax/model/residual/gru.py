"""A gated recurrent unit over depth in place of the sum."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.products import product
from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("gru")
class GRUGate(PreNorm):
    """(1 - z) x + z h, a GRU with state x and input y = max(0, f(N(x))) (Parisotto 2019, arXiv 1910.06764, eq. 3-8).

    r = σ(y W_r + x U_r), z = σ(y W_z + x U_z - b), h = tanh(y W_g + (r x) U_g); N at the end. `bias` is where
    b starts: above 0 a layer is near the identity at first.
    """

    bias: float = 2.0

    cost = "6 products with D x D matrices per token and sublayer"

    @nn.compact
    def __call__(self, stream, branch, *, layer):
        x_BLD, y_BLD = stream, jax.nn.relu(branch(self.normalise(stream)))
        D = x_BLD.shape[-1]

        def matrix(of_BLD, name):
            weight_DD = self.weight(name, (D, D), ("width", None), fan_in(D), layer)
            return product("BLD,DE->BLE", of_BLD, weight_DD)

        bias_D = self.weight("update_bias", (D,), ("norm",), nn.initializers.constant(self.bias))
        reset_BLD = jax.nn.sigmoid(matrix(y_BLD, "reset_y") + matrix(x_BLD, "reset_x"))
        update_BLD = jax.nn.sigmoid(matrix(y_BLD, "update_y") + matrix(x_BLD, "update_x") - bias_D)
        new_BLD = jnp.tanh(matrix(y_BLD, "new_y") + matrix(reset_BLD * x_BLD, "new_x"))
        return (1.0 - update_BLD) * x_BLD + update_BLD * new_BLD
