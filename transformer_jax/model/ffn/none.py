"""No feed-forward sublayer."""

import jax.numpy as jnp

from transformer_jax.model.ffn.base import FFN, ffns


@ffns.register("none")
class NoFFN(FFN):
    """0: a stack of mixers alone, the control condition of every feed-forward (Dong et al. 2021, arXiv 2103.03404)."""

    cost = "nothing"

    def __call__(self, x_BLD, *, ctx, layer):
        return jnp.zeros_like(x_BLD)
