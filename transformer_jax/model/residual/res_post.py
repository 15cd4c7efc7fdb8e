"""The norm on the sublayer's output."""

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("res_post")
class ResPost(PreNorm):
    """x + N(f(x)), and N at the end (Liu et al. 2022, Swin v2, arXiv 2111.09883, sec. 3.2; OLMo 2, 2024)."""

    cost = "as pre"

    def __call__(self, stream, branch, *, layer):
        return stream + self.normalise(branch(stream))
