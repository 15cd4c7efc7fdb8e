"""No skip connection."""

from typing import Literal

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("none")
class NoResidual(PreNorm):
    """f(N(x)): pre-norm without its skip, and N at the end of the stack (Dong et al. 2021; He et al. 2023).

    The norm stays where `pre` has it, so that the skip is all that differs. `at` says which sublayers lose
    it: 'attention' (self and cross), 'ffn' or 'both'; the others stay pre-norm.
    """

    at: Literal["both", "attention", "ffn"] = "both"

    cost = "no addition"

    def __call__(self, stream, branch, *, layer):
        kind = "ffn" if self.sublayer == "ffn" else "attention"
        update = branch(self.normalise(stream))
        return update if self.at in ("both", kind) else stream + update
