"""No normalisation."""

from transformer_jax.model.norm.base import Norm, norms


@norms.register("none")
class NoNorm(Norm):
    """x: the control condition of every norm (Vaswani et al. 2017 without their layer normalisation)."""

    def __call__(self, x_BLD):
        return x_BLD
