"""Source and target for an encoder-decoder."""

from dataclasses import dataclass

import numpy as np

from transformer_jax.data.packing import columns, place
from transformer_jax.data.rows import Encoded, Rows
from transformer_jax.data.tokenizers.base import EOS, Tokenizer
from transformer_jax.data.views.base import Prompt, View, assign, fitting, starts, views, with_eos


@views.register("pairs")
@dataclass(frozen=True)
class Pairs(View):
    """Encoder [s1 … sn EOS], decoder [EOS a1 … am], targets [a1 … am EOS].

    Packed, whole examples share a row, with the same segment on both sides. An example that is too long is
    dropped and counted.
    """

    kind = "pairs"
    families = ("encoder_decoder",)

    def rows(self, sides: tuple[Encoded, ...], length: int, source_length: int, packed: bool) -> Rows:
        source, target = (with_eos(side) for side in sides)
        sizes_E2 = np.stack([source.sizes_E, target.sizes_E], axis=1)
        capacity = (source_length, length)
        fits_E = fitting(sizes_E2, capacity, ("source_length", "length"))
        source, target, sizes_E2 = source.keep(fits_E), target.keep(fits_E), sizes_E2[fits_E]
        row_E = assign(sizes_E2, capacity, packed)
        n_rows = int(row_E.max()) + 1
        # Every target ends with EOS, so the stream shifted by one starts each target with EOS.
        decoder = {
            "tokens": np.concatenate([[EOS], target.ids_T[:-1]]),
            "targets": target.ids_T,
            "weights": np.ones_like(target.ids_T),
            "bytes": target.bytes_T,
        }
        fields = _lay(decoder, target.sizes_E, row_E, (n_rows, length))
        encoder = _lay({"source": source.ids_T}, source.sizes_E, row_E, (n_rows, source_length))
        fields["source"] = encoder["source"]
        fields["source_positions"] = encoder["positions"]
        fields["source_segments"] = encoder["segments"]
        return Rows(fields, dropped=int((~fits_E).sum()))

    def longest(self, sides: tuple[Encoded, ...]) -> tuple[int, int]:
        source, target = sides
        return int(target.sizes_E.max()) + 1, int(source.sizes_E.max()) + 1

    def prompt(self, text: str, tokenizer: Tokenizer) -> Prompt:
        source = np.concatenate([tokenizer.encode(text)[0], [EOS]]).astype(np.int32)
        return Prompt(np.asarray([EOS], np.int32), source)


def _lay(
    flat: dict[str, np.ndarray], sizes_E: np.ndarray, row_E: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    return place(flat, starts(sizes_E), sizes_E, row_E, columns(row_E, sizes_E), shape)
