"""YaRN: rotary positions interpolated by parts, with sharper logits."""

import math

import jax.numpy as jnp

from transformer_jax.model.position.base import Rotary, geometric_rates, positions
from transformer_jax.shapes import Array, Float, checked


@checked
def by_parts(rate_I: Float[Array, " I"], *, factor: float, low: float, high: float) -> Float[Array, " I"]:
    """Pairs up to `low` as they are, from `high` on interpolated, a linear blend between them."""
    i_I = jnp.arange(rate_I.shape[0], dtype=jnp.float32)
    ramp_I = jnp.clip((i_I - low) / (high - low), 0.0, 1.0)
    return ramp_I * rate_I / factor + (1 - ramp_I) * rate_I


@positions.register("rope_yarn")
class RopeYarn(Rotary):
    """rope, rates γ w + (1-γ) w/factor; q, k times 0.1 ln(factor) + 1 (Peng et al. 2023, arXiv 2309.00071, sec. 3.4).

    γ falls from 1, for pairs that turn at least beta_fast times in `trained` positions, to 0, for those that turn
    beta_slow times at most; it is linear in the pair's number between the nearest whole pairs, as in the
    published code. Queries and keys are scaled whole, whatever fraction is rotated.

    Attributes:
      factor: how many times longer than trained rows may get.
      trained: the length before; None for the longest row of the config.
    """

    factor: float = 4.0
    trained: int | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0

    cost = "that of rope"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.theta <= 1:
            found.append(f"theta={self.theta}: give a number above 1, so that rates differ")
        if self.factor < 1:
            found.append(f"factor={self.factor}: give 1 or more")
        if self.trained is not None and self.trained < 1:
            found.append(f"trained={self.trained}: give at least 1, or None for the longest row")
        if not 0 < self.beta_slow < self.beta_fast:
            found.append(
                f"beta_slow={self.beta_slow}, beta_fast={self.beta_fast}: give numbers above 0, the second larger"
            )
        return found

    def pair_turning(self, times: float) -> float:
        """The pair, a fraction in general, that turns `times` times in the trained length."""
        trained = self.arch.dims.length if self.trained is None else self.trained
        return self.n_rotated * math.log(trained / (2 * math.pi * times)) / (2 * math.log(self.theta))

    def rates(self, ctx):
        low = max(float(math.floor(self.pair_turning(self.beta_fast))), 0.0)
        high = max(min(float(math.ceil(self.pair_turning(self.beta_slow))), self.n_rotated - 1.0), low)
        high = high + 0.001 if high == low else high  # a step in place of a ramp
        return by_parts(geometric_rates(self.theta, self.n_rotated), factor=self.factor, low=low, high=high)

    def turn(self, x_BLHK, ctx):
        # The factor of both queries and keys, so that the logits get its square, the paper's 1 / t.
        return super().turn(x_BLHK, ctx) * (0.1 * math.log(self.factor) + 1)
