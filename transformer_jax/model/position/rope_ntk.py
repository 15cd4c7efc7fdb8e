"""Rotary positions with a larger base."""

from transformer_jax.model.position.base import Rotary, geometric_rates, positions


@positions.register("rope_ntk")
class RopeNTK(Rotary):
    """rope with base theta factor^(d/(d-2)), d entries rotated (bloc97 2023; Peng et al., arXiv 2309.00071, sec. 3.1).

    "NTK-aware" interpolation: the slowest pair turns `factor` times slower, as in rope_pi, the fastest as before.

    Attributes:
      factor: how many times longer than trained rows may get.
    """

    factor: float = 4.0

    cost = "that of rope"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.factor <= 0:
            found.append(f"factor={self.factor}: give a number above 0")
        if self.n_rotated == 2:
            found.append("a larger base needs two pairs: 2 rotated entries are one, which turns by 1 at any base")
        return found

    def rates(self, ctx):
        d = self.n_rotated
        return geometric_rates(self.theta * self.factor ** (d / (d - 2)), d)
