"""ReZero."""

from flax import linen as nn

from transformer_jax.model.residual.base import Residual, residuals


@residuals.register("rezero")
class ReZero(Residual):
    """x + α f(x), α learned, 0 at the start, and no norm (Bachlechner et al. 2020, arXiv 2003.04887, eq. 1)."""

    cost = "1 factor per sublayer, no norm"

    @nn.compact
    def __call__(self, stream, branch, *, layer):
        alpha = self.weight("alpha", (), (), nn.initializers.zeros)
        return stream + alpha * branch(stream)
