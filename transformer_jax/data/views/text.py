"""Documents for a language model: each predicts its next token, from EOS to EOS."""

from dataclasses import dataclass

import numpy as np

from transformer_jax.data.packing import place
from transformer_jax.data.rows import Encoded, Rows
from transformer_jax.data.tokenizers.base import EOS, Tokenizer
from transformer_jax.data.views.base import Prompt, View, starts, views, with_eos


@views.register("text")
@dataclass(frozen=True)
class Text(View):
    """Inputs [EOS t1 … tn], targets [t1 … tn EOS].

    Packed, the documents are concatenated and the stream is cut into rows; what continues in the next row
    is a new segment there, at position 0. Otherwise a row holds one piece of one document.
    """

    kind = "documents"
    families = ("decoder_only",)

    def rows(self, sides: tuple[Encoded, ...], length: int, source_length: int, packed: bool) -> Rows:
        stream = with_eos(sides[0])
        # Every document ends with EOS, so the stream shifted by one starts each document with EOS.
        tokens_T = np.concatenate([[EOS], stream.ids_T[:-1]])
        total = len(tokens_T)
        document_starts = starts(stream.sizes_E)
        if packed:
            starts_P = np.union1d(document_starts, np.arange(0, total, length))
            row_P, column_P = starts_P // length, starts_P % length
            n_rows = -(-total // length)
        else:
            pieces_E = -(-stream.sizes_E // length)
            within_P = np.arange(pieces_E.sum()) - np.repeat(starts(pieces_E), pieces_E)
            starts_P = np.repeat(document_starts, pieces_E) + within_P * length
            row_P, column_P = np.arange(len(starts_P)), np.zeros(len(starts_P), np.int64)
            n_rows = len(starts_P)
        flat = {
            "tokens": tokens_T,
            "targets": stream.ids_T,
            "weights": np.ones(total, np.int64),
            "bytes": stream.bytes_T,
        }
        sizes_P = np.diff(starts_P, append=total)
        return Rows(place(flat, starts_P, sizes_P, row_P, column_P, (n_rows, length)))

    def longest(self, sides: tuple[Encoded, ...]) -> tuple[int, int]:
        return int(sides[0].sizes_E.max()) + 1, 0

    def prompt(self, text: str, tokenizer: Tokenizer) -> Prompt:
        return Prompt(np.concatenate([[EOS], tokenizer.encode(text)[0]]).astype(np.int32))
