"""Post-norm below, pre-norm above."""

import math

import jax.numpy as jnp

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("mix_ln")
class MixLN(PreNorm):
    """N(x + f(x)) in the first floor(post * depth) layers, then x + f(N(x)); N at the end (Li 2024, arXiv 2412.13795).

    All layers are one program, so each computes both norms and takes one of them.
    """

    post: float = 0.25

    cost = "1 norm more to compute per sublayer"

    def problems(self):
        return [] if 0 <= self.post <= 1 else [f"post={self.post}: give a share of the layers, from 0 to 1"]

    def __call__(self, stream, branch, *, layer):
        is_post = layer.index < math.floor(self.post * self.depth)
        sum_BLD = stream + branch(jnp.where(is_post, stream, self.normalise(stream)))
        return jnp.where(is_post, self.normalise(sum_BLD), sum_BLD)
