"""Post-norm."""

from flax import linen as nn

from transformer_jax.model.residual.base import Residual, residuals


@residuals.register("post")
class Post(Residual):
    """N(x + f(x)) (Vaswani et al. 2017, sec. 3.1)."""

    cost = "1 norm per sublayer"

    @nn.compact
    def __call__(self, stream, branch, *, layer):
        return self.norm()(stream + branch(stream))
