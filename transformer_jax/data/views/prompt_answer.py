"""Prompt and answer in one sequence, for a decoder-only model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from transformer_jax.data.packing import columns, place
from transformer_jax.data.rows import Encoded, Rows
from transformer_jax.data.tokenizers.base import EOS, Tokenizer
from transformer_jax.data.views.base import Prompt, View, assign, fitting, starts, views, with_eos


@views.register("prompt_answer")
@dataclass(frozen=True)
class PromptAnswer(View):
    """Inputs [p1 … pn EOS a1 … am], targets [p2 … pn EOS a1 … am EOS].

    Packed, whole examples share a row. An example that is too long is dropped and counted.

    Attributes:
      loss: on the answer and its EOS only, or on all targets.
    """

    loss: Literal["answer", "all"] = "answer"

    kind = "pairs"
    families = ("decoder_only",)

    def rows(self, sides: tuple[Encoded, ...], length: int, source_length: int, packed: bool) -> Rows:
        prompt, answer = (with_eos(side) for side in sides)
        whole_E = prompt.sizes_E + answer.sizes_E
        fits_E = fitting((whole_E - 1)[:, None], (length,), ("length",))
        prompt, answer, whole_E = prompt.keep(fits_E), answer.keep(fits_E), whole_E[fits_E]
        sizes_E = whole_E - 1  # the last EOS is predicted but never read
        row_E = assign(sizes_E[:, None], (length,), packed)
        ids_T, bytes_T, is_answer_T = _interleaved(prompt, answer)
        flat = {
            "tokens": ids_T,
            "targets": np.roll(ids_T, -1),
            "weights": np.roll(is_answer_T, -1) if self.loss == "answer" else np.ones_like(ids_T),
            "bytes": np.roll(bytes_T, -1),
        }
        shape = (int(row_E.max()) + 1, length)
        fields = place(flat, starts(whole_E), sizes_E, row_E, columns(row_E, sizes_E), shape)
        return Rows(fields, dropped=int((~fits_E).sum()))

    def longest(self, sides: tuple[Encoded, ...]) -> tuple[int, int]:
        prompt, answer = sides
        return int((prompt.sizes_E + answer.sizes_E).max()) + 1, 0

    def prompt(self, text: str, tokenizer: Tokenizer) -> Prompt:
        return Prompt(np.concatenate([tokenizer.encode(text)[0], [EOS]]).astype(np.int32))


def _interleaved(prompt: Encoded, answer: Encoded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompt and answer of each example behind one another: ids_T, bytes_T and 1 where the answer is."""
    total = len(prompt.ids_T) + len(answer.ids_T)
    is_answer_E2 = np.tile([False, True], (len(prompt.sizes_E), 1))
    sizes_E2 = np.stack([prompt.sizes_E, answer.sizes_E], axis=1)
    is_answer_T = np.repeat(is_answer_E2.ravel(), sizes_E2.ravel())
    ids_T, bytes_T = np.empty(total, np.int32), np.empty(total, np.int32)
    ids_T[~is_answer_T], ids_T[is_answer_T] = prompt.ids_T, answer.ids_T
    bytes_T[~is_answer_T], bytes_T[is_answer_T] = prompt.bytes_T, answer.bytes_T
    return ids_T, bytes_T, is_answer_T.astype(np.int32)
