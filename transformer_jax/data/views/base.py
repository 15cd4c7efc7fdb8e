"""`View`: how a corpus is seen by a family of models, and the registry of views."""

from typing import NamedTuple

import numpy as np

from transformer_jax.data.packing import first_fit
from transformer_jax.data.rows import Encoded, Rows
from transformer_jax.data.tokenizers.base import EOS, Tokenizer
from transformer_jax.errors import UserError
from transformer_jax.registry import Registry

views = Registry("view", "transformer_jax.data.views")


class Prompt(NamedTuple):
    """What a model is given to start generating.

    Attributes:
      tokens_L: int32, the decoder's input so far; the first generated token follows it.
      source_M: int32, the encoder's input, or None where there is no encoder.
    """

    tokens_L: np.ndarray
    source_M: np.ndarray | None = None


class View:
    """What every view does. A subclass is a frozen dataclass and sets `kind` and `families`."""

    kind: str  # of corpus that it takes: 'documents' or 'pairs'
    families: tuple[str, ...]  # of models that it fits

    def rows(self, sides: tuple[Encoded, ...], length: int, source_length: int, packed: bool) -> Rows:
        """Lays out a split.

        Args:
          sides: (documents,) or (sources, targets).
          length, source_length: L and M.
          packed: several documents or examples share a row.

        Raises:
          UserError: if no example fits.
        """
        raise NotImplementedError

    def longest(self, sides: tuple[Encoded, ...]) -> tuple[int, int]:
        """L and M of the shortest rows that hold every example whole; M is 0 where there is no encoder."""
        raise NotImplementedError

    def prompt(self, text: str, tokenizer: Tokenizer) -> Prompt:
        """What to feed a model so that it continues or answers `text`."""
        raise NotImplementedError


def with_eos(texts: Encoded) -> Encoded:
    """Each text followed by EOS, which stands for no byte."""
    total = len(texts.ids_T) + len(texts.sizes_E)
    index_T = np.arange(len(texts.ids_T)) + np.repeat(np.arange(len(texts.sizes_E)), texts.sizes_E)
    ids_T, bytes_T = np.full(total, EOS, np.int32), np.zeros(total, np.int32)
    ids_T[index_T], bytes_T[index_T] = texts.ids_T, texts.bytes_T
    return Encoded(ids_T, bytes_T, texts.sizes_E + 1)


def assign(sizes_EC: np.ndarray, capacity_C: tuple[int, ...], packed: bool) -> np.ndarray:
    """The row of each whole example: by first fit, or one each."""
    return first_fit(sizes_EC, capacity_C) if packed else np.arange(len(sizes_EC))


def fitting(sizes_EC: np.ndarray, capacity_C: tuple[int, ...], names_C: tuple[str, ...]) -> np.ndarray:
    """Mask of the examples that fit a row in every column.

    Raises:
      UserError: if none does.
    """
    fits_E = (sizes_EC <= np.asarray(capacity_C)).all(axis=1)
    if not fits_E.any():
        shortest = sizes_EC[sizes_EC.sum(axis=1).argmin()]
        have = ", ".join(f"{name}={c}" for name, c in zip(names_C, capacity_C, strict=True))
        need = ", ".join(f"{name}={c}" for name, c in zip(names_C, shortest, strict=True))
        raise UserError(f"no example fits a row of {have}; the shortest needs {need}")
    return fits_E


def starts(sizes_P: np.ndarray) -> np.ndarray:
    """Where each of consecutive pieces starts."""
    return np.cumsum(sizes_P) - sizes_P
