"""Pre-norm."""

from transformer_jax.model.residual.base import Residual, residuals


@residuals.register("pre")
class Pre(Residual):
    """x + f(N(x)), and N at the end of the stack (Xiong et al. 2020, arXiv 2002.04745, table 1)."""

    def setup(self):
        self.normalise = self.norm()

    def __call__(self, stream, branch, *, layer):
        return stream + branch(self.normalise(stream))

    def close(self, stream):
        return self.normalise(stream)
