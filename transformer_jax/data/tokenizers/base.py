"""`Tokenizer`: text to numbers and back, what it was fitted to, and the registry of tokenizers."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transformer_jax.errors import UserError
from transformer_jax.registry import Registry, format_spec
from transformer_jax.shapes import Int

tokenizers = Registry("tokenizer", "transformer_jax.data.tokenizers")

# Common to all. There is no BOS: EOS starts an answer or document, and EOS ends it.
PAD, EOS, UNK = 0, 1, 2
SPECIALS = 3

_FORMAT = "transformer_jax tokenizer 1"

Encoding = tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]


@dataclass(frozen=True)
class Marks:
    """Ids of the tokens that a view writes by itself.

    Attributes:
      pad: fills rows up.
      eos: ends a text.
      start: what a document, or a row of a decoder, begins with; BOS, [CLS] or T5's pad in other vocabularies.
      source_start: what the text that an encoder reads begins with, beside a decoder; None is nothing.
      mask: stands for a hidden token.
      sentinels: stand for hidden spans, in the order in which they are used.
      modes: tell a mixture's objectives apart (R, S, X).
      words: (first, stop), the ids of ordinary tokens, from which random ones are drawn.
      ends: all tokens that end an answer, `eos` first, where there are several; empty is `eos` alone.
    """

    pad: int = PAD
    eos: int = EOS
    start: int = EOS
    source_start: int | None = None
    mask: int | None = None
    sentinels: tuple[int, ...] = ()
    modes: tuple[int, ...] = ()
    words: tuple[int, int] = (0, 0)
    ends: tuple[int, ...] = ()

    @property
    def silent(self) -> frozenset[int]:
        """What `decode` leaves out."""
        return frozenset({self.pad, self.eos, self.start, self.source_start, *self.ends}) - {None}

    @property
    def opening(self) -> tuple[int, ...]:
        """What a prompt begins with: `start`, where it is another token than the end."""
        return () if self.start == self.eos else (self.start,)


class Tokenizer:
    """What every tokenizer does. A subclass is a dataclass; its fields are the arguments of its spec."""

    @property
    def vocab_size(self) -> int:
        """V, the specials included."""
        raise NotImplementedError

    @property
    def marks(self) -> Marks:
        """Ids of its special tokens."""
        return Marks()

    def check(self) -> None:
        """Cheap checks before anything is read.

        Raises:
          UserError: if `train` cannot succeed.
        """

    def train(self, texts: Iterable[str]) -> None:
        """Fits the vocabulary to `texts`, which should be the train split only."""

    def encode(self, text: str) -> Encoding:
        """Token ids of `text`, without specials, and how many of its UTF-8 bytes each token stands for.

        Returns:
          ids_E, bytes_E: int32. The bytes sum to `len(text.encode())`, unknown tokens included.
        """
        raise NotImplementedError

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """`encode` of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`. Padding, start and ends are skipped; UNK is written `<unk>`.

        Raises:
          UserError: if an id is not in the vocabulary.
        """
        ids = [int(i) for i in ids]
        for i in ids:
            if not 0 <= i < self.vocab_size:
                raise UserError(f"token id {i} is not in the vocabulary: give 0 to {self.vocab_size - 1}")
        silent = self.marks.silent
        return self._decode([i for i in ids if i not in silent])

    def _decode(self, ids: list[int]) -> str:
        raise NotImplementedError

    def state(self) -> object:
        """What `train` fitted, ready for JSON."""
        return None

    def restore(self, state: object) -> None:
        """Takes back what `state` gave; raises ValueError if that cannot be."""

    @property
    def spec(self) -> str:
        """The spec string that builds it, with every argument."""
        name = next(name for name in tokenizers.names() if tokenizers.lookup(name) is type(self))
        return format_spec(name, **{key: getattr(self, key) for key in tokenizers.options(name)})

    def to_json(self) -> str:
        """All of it as one JSON text; equal for equal tokenizers."""
        content = {"format": _FORMAT, "spec": self.spec, "state": self.state()}
        return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, usually to `tokenizer.json` in a run directory; whole or not at all."""
        path = Path(path)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        unfinished.write_text(self.to_json(), encoding="utf-8")
        unfinished.replace(path)


def from_json(text: str) -> Tokenizer:
    """The inverse of `Tokenizer.to_json`.

    Raises:
      ValueError: if `text` is not what `to_json` wrote.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT!r}")
    tokenizer = tokenizers.build(content["spec"])
    tokenizer.restore(content["state"])
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote to `path`.

    Raises:
      UserError: if the file is missing or is no tokenizer of this package.
    """
    try:
        return from_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"tokenizer {str(path)!r}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"tokenizer {str(path)!r} cannot be read: {error}") from None


def as_arrays(ids: Sequence[int], n_bytes: Sequence[int]) -> Encoding:
    """`Encoding` of two sequences."""
    return np.asarray(ids, np.int32), np.asarray(n_bytes, np.int32)
