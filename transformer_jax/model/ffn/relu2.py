"""Squared ReLU feed-forward."""

import jax
import jax.numpy as jnp

from transformer_jax.model.ffn.base import Plain, ffns


def squared_relu(h_BLF):
    """max(0, h)^2."""
    return jnp.square(jax.nn.relu(h_BLF))


@ffns.register("relu2")
class ReLU2(Plain):
    """max(0, x W_in)^2 W_out (So et al. 2021, Primer, arXiv 2109.08668)."""

    cost = "as relu"

    def activation(self):
        return squared_relu
