"""SwiGLU feed-forward."""

import jax

from transformer_jax.model.ffn.base import Gated, ffns


@ffns.register("swiglu")
class SwiGLU(Gated):
    """(swish(x W_gate) * x W_in) W_out (Shazeer 2020, arXiv 2002.05202, eq. 6)."""

    cost = "3 products with D x F matrices"

    def activation(self):
        return jax.nn.silu
