"""All sublayers of a layer side by side."""

from typing import Literal

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("parallel")
class Parallel(PreNorm):
    """x + Σ f(N(x)) over the sublayers f of a layer, and N at the end (Wang & Komatsuzaki 2021, GPT-J; PaLM 2022).

    norms=1: the sublayers share one norm. norms=2: each has its own (Black et al. 2022, GPT-NeoX).
    Cross-attention, which those models do not have, reads the layer's input too.

    The stream is (the sum so far, what the layer's sublayers read); with norms=2 the norm is still to come.
    """

    norms: Literal[1, 2] = 1

    cost = "B L D more to carry"

    def open(self, x_BLD):
        return x_BLD, x_BLD

    def __call__(self, stream, branch, *, layer):
        sum_BLD, shared_BLD = stream
        if self.sublayer == "attention":  # the first of its layer
            shared_BLD = self.normalise(sum_BLD) if self.norms == 1 else sum_BLD
        input_BLD = shared_BLD if self.norms == 1 else self.normalise(shared_BLD)
        return sum_BLD + branch(input_BLD), shared_BLD

    def close(self, stream):
        return self.normalise(stream[0])
