"""SiLU feed-forward."""

import jax

from transformer_jax.model.ffn.base import Plain, ffns


@ffns.register("silu")
class SiLU(Plain):
    """silu(x W_in) W_out, silu(h) = h σ(h) (Ramachandran et al. 2017, arXiv 1710.05941; Marian's models)."""

    cost = "2 products with D x F matrices"

    def activation(self):
        return jax.nn.silu
