"""A post-norm stream and an unnormalised one beside it."""

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("residual_dual")
class ResiDual(PreNorm):
    """p' = N(p + f(p)), d' = d + f(p), and p + N(d) at the end (Xie et al. 2023, arXiv 2304.14802)."""

    cost = "B L D more to carry"

    def open(self, x_BLD):
        return x_BLD, x_BLD

    def __call__(self, stream, branch, *, layer):
        post_BLD, dual_BLD = stream
        y_BLD = branch(post_BLD)
        return self.normalise(post_BLD + y_BLD), dual_BLD + y_BLD

    def close(self, stream):
        post_BLD, dual_BLD = stream
        return post_BLD + self.normalise(dual_BLD)
