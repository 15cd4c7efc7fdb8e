"""GELU-gated feed-forward."""

from functools import partial

import jax

from transformer_jax.model.ffn.base import Gated, ffns


@ffns.register("geglu")
class GEGLU(Gated):
    """(gelu(x W_gate) * x W_in) W_out (Shazeer 2020, arXiv 2002.05202, eq. 6); the tanh form by default."""

    approximate: bool = True

    cost = "3 matrices, not 2"

    def activation(self):
        return partial(jax.nn.gelu, approximate=self.approximate)
