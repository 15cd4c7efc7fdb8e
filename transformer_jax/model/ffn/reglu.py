"""ReLU-gated feed-forward."""

import jax

from transformer_jax.model.ffn.base import Gated, ffns


@ffns.register("reglu")
class ReGLU(Gated):
    """(max(0, x W_gate) * x W_in) W_out (Shazeer 2020, arXiv 2002.05202, eq. 6)."""

    cost = "3 matrices, not 2"

    def activation(self):
        return jax.nn.relu
