"""GELU-gated feed-forward."""

import jax

from transformer_jax.model.ffn.base import Gated, ffns


@ffns.register("geglu")
class GEGLU(Gated):
    """(gelu(x W_gate) * x W_in) W_out (Shazeer 2020, arXiv 2002.05202, eq. 6); the tanh form by default."""

    approximate: bool = True

    cost = "3 matrices, not 2"

    def activation(self, h_BLF):
        return jax.nn.gelu(h_BLF, approximate=self.approximate)
