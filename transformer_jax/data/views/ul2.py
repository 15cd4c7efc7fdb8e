"""A mixture of denoisers: regular, sequential and extreme span corruption, told apart by a mode token."""

import math
from dataclasses import dataclass

from transformer_jax.data.denoising import MOST_SENTINELS, Denoiser, Denoising
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError

_R, _S, _X = range(3)
# (rate, mean length) of a span; one span at the end is the sequential denoiser.
_DENOISERS = (
    Denoiser(0.15, 3, _R),
    Denoiser(0.15, 8, _R),
    Denoiser(0.25, math.inf, _S),
    Denoiser(0.5, 3, _X),
    Denoiser(0.5, 8, _X),
    Denoiser(0.15, 64, _X),
    Denoiser(0.5, 64, _X),
)


@views.register("ul2")
@dataclass(frozen=True, kw_only=True)
class Ul2(Denoising):
    """Each piece is corrupted by one of seven denoisers, behind the token of its mode (Tay et al. 2022, table 1).

    R hides 15 % in spans of 3 or 8 tokens, S the last quarter, X 50 % in spans of 3, 8 or 64 or 15 % in spans of 64.

    Attributes:
      r, s, x: weights of the modes, shared evenly by the denoisers of each; by default all seven are equally likely.
      layout: 'pair' lets an encoder read what is left and a decoder write the spans; 'joined' lets one stack do both.
      sentinels: marks for spans, at least as many as a piece of a document can have.
    """

    r: float = 2.0
    s: float = 1.0
    x: float = 4.0

    def __post_init__(self):
        weights = (self.r, self.s, self.x)
        if min(weights) < 0 or not 0 < sum(weights) < math.inf or not 1 <= self.sentinels <= MOST_SENTINELS:
            raise UserError(
                f"view ul2, r={self.r}, s={self.s}, x={self.x}, sentinels={self.sentinels}: "
                f"give weights from 0 that are not all 0, and sentinels from 1 to {MOST_SENTINELS}"
            )

    @property
    def denoisers(self) -> tuple[Denoiser, ...]:
        return _DENOISERS

    @property
    def chances(self) -> tuple[float, ...]:
        weights = (self.r, self.s, self.x)
        modes = [denoiser.mode for denoiser in _DENOISERS]
        return tuple(weights[mode] / modes.count(mode) / sum(weights) for mode in modes)
