"""Squared ReLU feed-forward."""

import jax
import jax.numpy as jnp

from transformer_jax.model.ffn.base import Plain, ffns


@ffns.register("relu2")
class ReLU2(Plain):
    """max(0, x W_in)^2 W_out (So et al. 2021, Primer, arXiv 2109.08668)."""

    cost = "as relu"

    def activation(self, h_BLF):
        return jnp.square(jax.nn.relu(h_BLF))
