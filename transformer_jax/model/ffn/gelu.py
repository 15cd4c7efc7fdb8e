"""GELU feed-forward."""

from functools import partial

import jax

from transformer_jax.model.ffn.base import Plain, ffns


@ffns.register("gelu")
class GELU(Plain):
    """Φ(h) h W_out, h = x W_in (Hendrycks & Gimpel 2016); the tanh form by default, as in GPT-2."""

    approximate: bool = True

    cost = "2 products with D x F matrices"

    def activation(self):
        return partial(jax.nn.gelu, approximate=self.approximate)
