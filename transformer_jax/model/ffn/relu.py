"""ReLU feed-forward."""

import jax

from transformer_jax.model.ffn.base import Plain, ffns


@ffns.register("relu")
class ReLU(Plain):
    """max(0, x W_in) W_out (Vaswani et al. 2017, eq. 2)."""

    cost = "2 products with D x F matrices"

    def activation(self):
        return jax.nn.relu
