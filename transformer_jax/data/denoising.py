"""`Denoising`: what the views have in common that hide spans of a document and predict them in a second sequence."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from transformer_jax.data.corruption import draws, span_counts, span_noise, split_spans
from transformer_jax.data.laying import assign, in_one_row, in_two_rows, marked, opening, pieces, starts
from transformer_jax.data.packing import columns, place
from transformer_jax.data.rows import Encoded, Rows
from transformer_jax.data.tokenizers.base import Marks, Tokenizer
from transformer_jax.data.views.base import Needs, Prompt, View
from transformer_jax.errors import UserError

LAYOUTS = {"pair": ("encoder_decoder",), "joined": ("decoder_only", "prefix_lm")}

MOST_SENTINELS = 10_000
_LEAST = 2  # tokens of a piece: one is hidden and one is kept


@dataclass(frozen=True)
class Denoiser:
    """One way to hide spans: `rate` of the tokens, in spans of `length` on average, or in one at the end (inf)."""

    rate: float
    length: float
    mode: int | None = None  # which of the marks `modes` stands in front


@dataclass(frozen=True, kw_only=True)
class Denoising(View):
    """A subclass gives `denoisers` and `shares_of`.

    Attributes:
      layout: 'pair' lets an encoder read what is left and a decoder write the spans; 'joined' lets one stack do both.
      sentinels: marks for spans, at least as many as a piece of a document can have.
    """

    layout: Literal["pair", "joined"] = "pair"
    sentinels: int = 100

    kind = "documents"

    @property
    def families(self) -> tuple[str, ...]:
        return LAYOUTS[self.layout]

    @property
    def has_parts(self) -> bool:
        return self.layout == "joined"

    @property
    def needs(self) -> Needs:
        modes = [denoiser.mode for denoiser in self.denoisers if denoiser.mode is not None]
        return Needs(modes=max(modes, default=-1) + 1, sentinels=self.sentinels)

    @property
    def denoisers(self) -> tuple[Denoiser, ...]:
        raise NotImplementedError

    @property
    def chances(self) -> tuple[float, ...]:
        """Of each denoiser, with the sum 1."""
        raise NotImplementedError

    def rows(self, sides: tuple[Encoded, ...], length: int, source_length: int, packed: bool, marks: Marks) -> Rows:
        capacity = self._capacity(length, source_length)
        every_N = np.arange(_LEAST, max(sum(capacity), _LEAST) + 1)
        fits_N = (self._sizes(every_N, marks) <= capacity).all(axis=1)
        if not fits_N[0]:
            names = ("source_length", "length") if self.layout == "pair" else ("length",)
            need = self._sizes(every_N[:1], marks)[0]
            wanted = ", ".join(f"{name}={size}" for name, size in zip(names, need, strict=True))
            raise UserError(f"two tokens and their marks do not fit a row; give at least {wanted}")
        longest = int(every_N[fits_N.cumprod().sum() - 1])
        cut = pieces(sides[0], longest, _LEAST)
        if not len(cut.sizes_E):
            raise UserError("no document has two tokens, of which one could be hidden")
        spans = int(self._counts(cut.sizes_E)[1].max())
        if spans > len(marks.sentinels):
            raise UserError(
                f"a piece of {cut.sizes_E.max()} tokens may have {spans} hidden spans, but there are "
                f"{len(marks.sentinels)} sentinels: give sentinels={spans} or shorter rows"
            )
        sizes_PC = self._sizes(cut.sizes_E, marks)
        row_P = assign(sizes_PC, capacity, packed)
        column_P = columns(row_P, cut.sizes_E)
        shape = (int(row_P.max()) + 1, int((column_P + cut.sizes_E).max()))
        flat = {"tokens": cut.ids_T, "bytes": cut.bytes_T}
        fields = place(flat, starts(cut.sizes_E), cut.sizes_E, row_P, column_P, shape)
        draw = partial(self.corrupt, length=length, source_length=source_length, marks=marks)
        dropped = int((sides[0].sizes_E < _LEAST).sum())
        return Rows(fields, dropped=dropped, draw=draw, reach=int(sizes_PC.max()))

    def corrupt(
        self, raw: dict[str, np.ndarray], keys_B2: np.ndarray, length: int, source_length: int, marks: Marks
    ) -> dict[str, np.ndarray]:
        real_BR = raw["segments"] > 0
        random_3T = draws(keys_B2, (3, real_BR.shape[1])).swapaxes(0, 1)[:, real_BR]
        ids_T, bytes_T = raw["tokens"][real_BR].astype(np.int32), raw["bytes"][real_BR].astype(np.int32)
        first_P = np.flatnonzero(raw["positions"][real_BR] == 0)
        texts = Encoded(ids_T, bytes_T, np.diff(first_P, append=len(ids_T)))
        row_P = np.nonzero(real_BR)[0][first_P]

        # Which denoiser has a piece, then which tokens it hides.
        which_P = np.searchsorted(np.cumsum(self.chances)[:-1], random_3T[0][first_P], side="right")
        rates, lengths = (np.asarray([getattr(d, name) for d in self.denoisers]) for name in ("rate", "length"))
        noise_P, spans_P = span_counts(texts.sizes_E, rates[which_P].astype(float), lengths[which_P].astype(float))
        noise_T, start_T = span_noise(texts.sizes_E, noise_P, spans_P, random_3T[1:])
        left, hidden = split_spans(texts, noise_T, start_T, marks.sentinels)
        modes = np.asarray([0 if d.mode is None else marks.modes[d.mode] for d in self.denoisers])
        before = (modes[which_P],) if self.denoisers[0].mode is not None else ()

        target = marked(hidden, (), (marks.eos,))
        n_rows = len(real_BR)
        if self.layout == "pair":
            source = marked(left, (*opening(marks), *before), (marks.eos,))
            return in_two_rows(source, target, row_P, ((n_rows, source_length), (n_rows, length)), marks)
        prompt = marked(left, (*marks.opening, *before), (marks.eos,))
        return in_one_row(prompt, target, row_P, (n_rows, length), answer_only=True)

    def longest(self, sides: tuple[Encoded, ...], marks: Marks) -> tuple[int, int]:
        sizes = self._sizes(np.asarray([max(_LEAST, int(sides[0].sizes_E.max()))]), marks)[0]
        return (int(sizes[1]), int(sizes[0])) if self.layout == "pair" else (int(sizes[0]), 0)

    def prompt(self, text: str, tokenizer: Tokenizer) -> Prompt:
        """`text` with a hidden span behind it, which the model then writes behind the first sentinel."""
        marks = self.marks(tokenizer)
        modes = [d.mode for d in self.denoisers if d.mode is not None and np.isinf(d.length)]
        before = [marks.modes[mode] for mode in modes[:1]]
        text_ids = [*before, *tokenizer.encode(text)[0], marks.sentinels[0], marks.eos]
        if self.layout == "pair":
            return Prompt(np.asarray([marks.start], np.int32), np.asarray([*opening(marks), *text_ids], np.int32))
        return Prompt(np.asarray([*marks.opening, *text_ids], np.int32))

    def _capacity(self, length: int, source_length: int) -> tuple[int, ...]:
        return (source_length, length) if self.layout == "pair" else (length,)

    def _counts(self, sizes_P: np.ndarray) -> np.ndarray:
        """(noise, spans) of each size under each denoiser: (2, denoisers, P)."""
        return np.stack([span_counts(sizes_P, d.rate, float(d.length)) for d in self.denoisers], axis=1)

    def _sizes(self, sizes_P: np.ndarray, marks: Marks) -> np.ndarray:
        """What a piece takes of a row at most, in each column of the capacity: (P, C)."""
        noise_DP, spans_DP = self._counts(sizes_P)
        n_modes = int(self.denoisers[0].mode is not None)
        target_DP = noise_DP + spans_DP + 1
        left_DP = sizes_P - noise_DP + spans_DP + n_modes + 1
        if self.layout == "pair":
            return np.stack([left_DP.max(axis=0) + len(opening(marks)), target_DP.max(axis=0)], axis=1)
        return (left_DP + target_DP - 1 + len(marks.opening)).max(axis=0)[:, None]
