"""GELU feed-forward."""

import jax

from transformer_jax.model.ffn.base import Plain, ffns


@ffns.register("gelu")
class GELU(Plain):
    """Φ(h) h W_out, h = x W_in (Hendrycks & Gimpel 2016); the tanh form by default, as in GPT-2."""

    approximate: bool = True

    cost = "2 products with D x F matrices"

    def activation(self, h_BLF):
        return jax.nn.gelu(h_BLF, approximate=self.approximate)
