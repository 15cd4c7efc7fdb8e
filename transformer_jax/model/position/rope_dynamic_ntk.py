"""Rotary positions with a base that grows with the length of the row."""

from transformer_jax.model.position.base import Rotary, geometric_rates, positions


@positions.register("rope_dynamic_ntk")
class RopeDynamicNTK(Rotary):
    """rope, base theta (a s/trained - a + 1)^(d/(d-2)) for s > trained (Peng et al. 2023, arXiv 2309.00071, sec. 3.3).

    s is the length that the call can reach: the slots of the cache, else the row's own with its padding and all its
    segments. It is one number for all steps of a generation, so no key is cached with a base that later changes.

    Attributes:
      factor: a; 1 stretches just as much as the row is too long.
      trained: the length up to which rope stays as it is; None for the longest row of the config.
    """

    factor: float = 1.0
    trained: int | None = None

    cost = "that of rope"
    cached = False  # a cache may have room for more than the row holds, and then another base

    def problems(self) -> list[str]:
        found = super().problems()
        if self.factor < 1:
            found.append(f"factor={self.factor}: give 1 or more")
        if self.trained is not None and self.trained < 1:
            found.append(f"trained={self.trained}: give at least 1, or None for the longest row")
        if self.n_rotated == 2:
            found.append("a larger base needs two pairs: 2 rotated entries are one, which turns by 1 at any base")
        return found

    def rates(self, ctx):
        d = self.n_rotated
        trained = self.arch.dims.length if self.trained is None else self.trained
        stretch = max(1.0, self.factor * ctx.length / trained - (self.factor - 1))
        return geometric_rates(self.theta * stretch ** (d / (d - 2)), d)
