"""One token per UTF-8 byte: nothing to fit, nothing unknown."""

from dataclasses import dataclass

import numpy as np

from transformer_jax.data.tokenizers.base import SPECIALS, UNK, Encoding, Tokenizer, tokenizers


@tokenizers.register("byte")
@dataclass(frozen=True)
class Byte(Tokenizer):
    """Bytes 0 to 255 are the tokens 3 to 258. Lossless; bits per token are bits per byte."""

    @property
    def vocab_size(self) -> int:
        return SPECIALS + 256

    def encode(self, text: str) -> Encoding:
        ids_E = np.frombuffer(text.encode(), np.uint8).astype(np.int32) + SPECIALS
        return ids_E, np.ones_like(ids_E)

    def _decode(self, ids: list[int]) -> str:
        pieces = (b"<unk>" if i == UNK else bytes([i - SPECIALS]) for i in ids)
        return b"".join(pieces).decode(errors="replace")
