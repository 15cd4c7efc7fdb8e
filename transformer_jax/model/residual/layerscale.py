"""A learned scale for each channel of a branch."""

from flax import linen as nn

from transformer_jax.model.residual.base import PreNorm, residuals


def initial_scale(depth: int) -> float:
    """The authors' choice: 0.1 up to 18 layers, 1e-5 up to 24, 1e-6 beyond."""
    if depth <= 18:
        return 0.1
    return 1e-5 if depth <= 24 else 1e-6


@residuals.register("layerscale")
class LayerScale(PreNorm):
    """x + λ ⊙ f(N(x)), λ learned from a small value, and N at the end (Touvron et al. 2021, arXiv 2103.17239, eq. 4).

    `init` None stands for the paper's rule: 0.1 up to 18 layers, 1e-5 up to 24, 1e-6 beyond.
    """

    init: float | None = None

    cost = "1 factor per channel and sublayer"

    @nn.compact
    def __call__(self, stream, branch, *, layer):
        start = initial_scale(self.depth) if self.init is None else self.init
        scale_D = self.weight("scale", (stream.shape[-1],), ("norm",), nn.initializers.constant(start))
        return stream + scale_D * branch(self.normalise(stream))
