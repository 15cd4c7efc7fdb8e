"""Rotary positions, interpolated."""

from transformer_jax.model.position.base import Rotary, geometric_rates, positions


@positions.register("rope_pi")
class RopePI(Rotary):
    """rope at position p / factor (position interpolation; Chen et al. 2023, arXiv 2306.15595, eq. 4).

    Attributes:
      factor: how many times longer than trained rows may get.
    """

    factor: float = 4.0

    cost = "that of rope"

    def problems(self) -> list[str]:
        return super().problems() + ([] if self.factor > 0 else [f"factor={self.factor}: give a number above 0"])

    def rates(self, ctx):
        return geometric_rates(self.theta, self.n_rotated) / self.factor
