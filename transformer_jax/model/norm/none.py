"""No normalisation."""

from transformer_jax.model.norm.base import Norm, norms


@norms.register("none")
class NoNorm(Norm):
    """x: the control condition of every norm."""

    cost = "nothing"

    def __call__(self, x_BLD):
        return x_BLD
