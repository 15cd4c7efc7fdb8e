"""Span corruption: documents of which hidden spans are predicted, as T5 is trained."""

from dataclasses import dataclass

from transformer_jax.data.denoising import MOST_SENTINELS, Denoiser, Denoising
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError


@views.register("span")
@dataclass(frozen=True, kw_only=True)
class Span(Denoising):
    """'a b c d' -> reads 'a <1> d <2> EOS', writes '<1> b c <2> …' (T5, Raffel et al. 2020, sec. 3.1.4).

    Documents are cut into pieces that fit a row. round(rate n) of n tokens are hidden in round(noise / length)
    spans, drawn anew each time. Sentinels are used from the greatest id down.

    Attributes:
      rate: share of the tokens that is hidden.
      length: of a hidden span on average.
      layout: 'pair' lets an encoder read what is left and a decoder write the spans; 'joined' lets one stack do both.
      sentinels: marks for spans, at least as many as a piece of a document can have.
    """

    rate: float = 0.15
    length: float = 3.0

    def __post_init__(self):
        if not 0 < self.rate < 1 or self.length < 1 or not 1 <= self.sentinels <= MOST_SENTINELS:
            raise UserError(
                f"view span, rate={self.rate}, length={self.length}, sentinels={self.sentinels}: "
                f"give 0 < rate < 1, length >= 1 and sentinels from 1 to {MOST_SENTINELS}"
            )

    @property
    def denoisers(self) -> tuple[Denoiser, ...]:
        return (Denoiser(self.rate, self.length),)

    @property
    def chances(self) -> tuple[float, ...]:
        return (1.0,)
