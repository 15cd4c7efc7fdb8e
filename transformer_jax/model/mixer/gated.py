"""Attention with a gate on its heads."""

import jax

from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.mixer.base import mixers


@mixers.register("gated")
class Gated(Attention):
    """heads ⊙ σ(x W_g) before W_o, x the sublayer's input (Qiu et al. 2025, arXiv 2505.06708, eq. 5 at G1)."""

    cost = "D H K parameters, as one more projection"

    def finish(self, heads_BLHK, x_BLD, layer):
        return heads_BLHK * jax.nn.sigmoid(self.project(x_BLD, "gate", self.heads, "heads", layer))
