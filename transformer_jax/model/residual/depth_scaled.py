"""Pre-norm whose branches start smaller in deeper models."""

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("depth_scaled")
class DepthScaled(PreNorm):
    """x + f(N(x)), N at the end, W_out starting smaller by sqrt(branches of the stack) (Radford 2019, GPT-2, sec. 2.3).

    A stack has 2 branches per layer, and 3 if its layers read a memory.
    """

    cost = "as pre"

    def gains(self):
        return {"out": (self.depth * len(self.arch.sublayers(self.stack))) ** -0.5}
