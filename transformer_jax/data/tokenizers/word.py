"""Whole words and single punctuation marks, for small closed vocabularies and readable examples."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from transformer_jax.data.tokenizers.base import SPECIALS, UNK, Encoding, Tokenizer, as_arrays, tokenizers
from transformer_jax.errors import UserError

_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])")
_GLUE = "##"  # marks a piece that no white space separates from the one before, as in WordPiece


@tokenizers.register("word")
@dataclass(eq=False)
class Word(Tokenizer):
    """The most frequent words of the train split; case is kept, the rest is unknown.

    `decode(encode(text))` restores words, punctuation and where they touch; white space comes back as one
    blank. A token stands for the bytes of its word and of the white space before it.

    Attributes:
      vocab: size of the vocabulary at most, the 3 specials included.
    """

    vocab: int = 8192

    def __post_init__(self):
        if self.vocab <= SPECIALS:
            raise UserError(f"tokenizer word, vocab={self.vocab}: give at least {SPECIALS + 1}")
        self.restore([])

    @property
    def vocab_size(self) -> int:
        return SPECIALS + len(self._words)

    def train(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word, _ in _pieces(text))
        frequent = sorted(counts, key=lambda word: (-counts[word], word))
        self.restore(frequent[: self.vocab - SPECIALS])

    def encode(self, text: str) -> Encoding:
        pieces = _pieces(text)
        return as_arrays([self._ids.get(word, UNK) for word, _ in pieces], [n_bytes for _, n_bytes in pieces])

    def _decode(self, ids: list[int]) -> str:
        text = ""
        for i in ids:
            word = "<unk>" if i == UNK else self._words[i - SPECIALS]
            glued = word.startswith(_GLUE)
            text += word[len(_GLUE) :] if glued else f" {word}" if text else word
        return text

    def state(self) -> object:
        return list(self._words)

    def restore(self, state: object) -> None:
        if not isinstance(state, list) or not all(isinstance(word, str) for word in state):
            raise ValueError("no state of a word tokenizer: want a list of words")
        self._words = list(state)
        self._ids = {word: SPECIALS + i for i, word in enumerate(self._words)}


def _pieces(text: str) -> list[tuple[str, int]]:
    """(word, bytes) of each piece; the bytes sum to those of `text`."""
    pieces, end = [], 0
    for match in _PIECE.finditer(text):
        piece, end = match[0], match.end()
        word = piece.lstrip()
        glued = pieces and len(word) == len(piece)
        pieces.append((_GLUE + word if glued else word, len(piece.encode())))
    rest = len(text[end:].encode())
    if rest and pieces:
        pieces[-1] = (pieces[-1][0], pieces[-1][1] + rest)
    elif rest:
        pieces.append((text, rest))  # white space alone: never in the vocabulary, so it becomes UNK
    return pieces
