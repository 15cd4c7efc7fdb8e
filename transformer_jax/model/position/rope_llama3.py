"""Llama 3.1's scaled rotary positions."""

import math

import jax.numpy as jnp

from transformer_jax.model.position.base import Rotary, geometric_rates, positions
from transformer_jax.shapes import Array, Float, checked


@checked
def by_wavelength(
    rate_I: Float[Array, " I"], *, factor: float, low: float, high: float, trained: int
) -> Float[Array, " I"]:
    """Waves that fit into `trained` at least `high` times as they are, at most `low` times interpolated."""
    times_I = trained * rate_I / (2 * math.pi)
    kept_I = jnp.clip((times_I - low) / (high - low), 0.0, 1.0)
    return (1 - kept_I) * rate_I / factor + kept_I * rate_I


@positions.register("rope_llama3")
class RopeLlama3(Rotary):
    """rope, rates (1-s) w/factor + s w, s = clip((n-low)/(high-low), 0, 1), n = trained w/2π (Llama 3.1, 2024, code).

    The model is that of Grattafiori et al. (2024, arXiv 2407.21783); the form is in Meta's published code only.

    Attributes:
      factor: how many times longer than trained rows may get.
      low, high: the times that a wave fits into the trained length, between which rates are blended.
      trained: the length before; None for the longest row of the config.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    trained: int | None = None

    cost = "that of rope"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.factor <= 0:
            found.append(f"factor={self.factor}: give a number above 0")
        if not 0 < self.low < self.high:
            found.append(f"low={self.low}, high={self.high}: give numbers above 0, the second larger")
        if self.trained is not None and self.trained < 1:
            found.append(f"trained={self.trained}: give at least 1, or None for the longest row")
        return found

    def rates(self, ctx):
        trained = self.arch.dims.length if self.trained is None else self.trained
        rate_I = geometric_rates(self.theta, self.n_rotated)
        return by_wavelength(rate_I, factor=self.factor, low=self.low, high=self.high, trained=trained)
