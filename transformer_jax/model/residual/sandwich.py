"""A norm on either side of the sublayer."""

from transformer_jax.model.residual.base import Residual, residuals


@residuals.register("sandwich")
class Sandwich(Residual):
    """x + N_out(f(N(x))), and N at the end (Ding et al. 2021, CogView, arXiv 2105.13290; Kim et al. 2025, Peri-LN)."""

    cost = "1 norm more per sublayer"

    def setup(self):
        self.normalise = self.norm()
        self.normalise_out = self.norm("norm_out")

    def __call__(self, stream, branch, *, layer):
        return stream + self.normalise_out(branch(self.normalise(stream)))

    def close(self, stream):
        return self.normalise(stream)
