"""Tokenizers of Hugging Face, as their tokenizer.json has them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from tokenizers import Tokenizer as Backend

from transformer_jax.data.tokenizers.base import Encoding, Marks, Tokenizer, as_arrays, tokenizers
from transformer_jax.data.tokenizers.marks import marks_of
from transformer_jax.errors import UserError
from transformer_jax.hub import directory_of

PATTERNS = ("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "config.json", "generation_config.json")


@tokenizers.register("huggingface")
@dataclass(eq=False)
class Huggingface(Tokenizer):
    """A trained tokenizer; its content is part of what a run directory saves.

    Attributes:
      path: a directory with tokenizer.json, or the name of a repository of the hub. Read when it is fitted.
      vocab: rows of the model's table, where they are more than the tokens; None for as many.
    """

    path: str = ""
    vocab: int | None = None

    def __post_init__(self):
        self._backend: Backend | None = None
        self._content, self._marks = None, Marks()

    @property
    def vocab_size(self) -> int:
        return self._tokens if self.vocab is None else self.vocab

    @property
    def marks(self) -> Marks:
        return self._marks

    def check(self) -> None:
        if not self.path:
            raise UserError(
                "tokenizer huggingface: give path=…, a directory with tokenizer.json or a repository's name"
            )

    def train(self, texts: Iterable[str]) -> None:
        """Reads `path`; the texts are not looked at.

        Raises:
          UserError: if it holds no tokenizer.json, one that cannot be read, one of more than `vocab` tokens, or none
            that ends a text.
        """
        self.check()
        directory = directory_of(self.path, PATTERNS)
        try:
            content = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
            self._adopt(content, Marks())
        except FileNotFoundError:
            raise UserError(f"tokenizer huggingface: {directory} holds no tokenizer.json") from None
        except ValueError as error:
            raise UserError(f"tokenizer huggingface: {directory / 'tokenizer.json'}: {error}") from None
        self._marks = marks_of(directory, self.vocab_size, self._backend)

    def encode(self, text: str) -> Encoding:
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """A text of which nothing is left (white space, where a tokenizer drops it) has no tokens, and no bytes."""
        encodings = self._fitted.encode_batch(list(texts), add_special_tokens=False)
        return [as_arrays(e.ids, _bytes(text, e.offsets)) for text, e in zip(texts, encodings, strict=True)]

    def _decode(self, ids: list[int]) -> str:
        """Specials other than padding, start and ends are written as they are called."""
        return self._fitted.decode(ids, skip_special_tokens=False)

    @property
    def sha256(self) -> str:
        """Of the content, wherever it lies."""
        content = json.dumps([self.vocab_size, self.state()], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def state(self) -> object:
        told = asdict(self._marks)
        if not self._marks.ends:  # so that the hash of a tokenizer is what it was before there were several
            del told["ends"]
        return {"tokenizer": self._content, "marks": told}

    def restore(self, state: object) -> None:
        try:
            told = {name: tuple(v) if isinstance(v, list) else v for name, v in state["marks"].items()}
            self._adopt(state["tokenizer"], Marks(**told))
        except (TypeError, KeyError) as error:
            raise ValueError(f"no state of a tokenizer of Hugging Face: {error!r}") from None

    @property
    def _fitted(self) -> Backend:
        if self._backend is None:
            raise UserError(f"tokenizer {self.spec!r} has not been read yet")
        return self._backend

    def _adopt(self, content: object, marks: Marks) -> None:
        try:
            backend = Backend.from_str(json.dumps(content))
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"it cannot be read: {error}") from None
        backend.no_truncation()
        backend.no_padding()
        self._backend, self._content, self._marks = backend, content, marks
        self._tokens = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=0)
        if self.vocab is not None and self._tokens > self.vocab:
            raise ValueError(f"it has {self._tokens} tokens, and the model's table only {self.vocab} rows")


def _bytes(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """How many bytes of `text` each token stands for: from where the one before ended; the last takes what is left."""
    if not offsets:
        return np.zeros(0, np.int64)
    ends_E = np.maximum.accumulate(np.asarray(offsets)[:, 1])
    ends_E[-1] = len(text)
    if not text.isascii():
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        sizes = 1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
        ends_E = np.concatenate([[0], np.cumsum(sizes)])[ends_E]
    return np.diff(ends_E, prepend=0)
