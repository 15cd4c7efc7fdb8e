"""Copy, reverse and sort a string of letters: the simplest probes of length generalisation."""

from dataclasses import dataclass

import numpy as np

from transformer_jax.data.corpora.base import corpora
from transformer_jax.data.tasks import LETTERS, Task
from transformer_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class _Letters(Task):
    symbols: int = 26

    def check(self) -> None:
        super().check()
        if not 2 <= self.symbols <= len(LETTERS):
            raise UserError(f"{self}: symbols={self.symbols}: give 2 to {len(LETTERS)}")

    def answer(self, source: str) -> str:
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, length: int) -> tuple[str, str]:
        source = "".join(LETTERS[i] for i in rng.integers(self.symbols, size=length))
        return source, self.answer(source)


@corpora.register("copy")
@dataclass(frozen=True, kw_only=True)
class Copy(_Letters):
    """`'dab' -> 'dab'`. The length is the number of letters; `symbols` is the size of the alphabet."""

    def answer(self, source: str) -> str:
        return source


@corpora.register("reverse")
@dataclass(frozen=True, kw_only=True)
class Reverse(_Letters):
    """`'dab' -> 'bad'`. The length is the number of letters; `symbols` is the size of the alphabet."""

    def answer(self, source: str) -> str:
        return source[::-1]


@corpora.register("sort")
@dataclass(frozen=True, kw_only=True)
class Sort(_Letters):
    """`'dab' -> 'abd'`. The length is the number of letters; `symbols` is the size of the alphabet."""

    def answer(self, source: str) -> str:
        return "".join(sorted(source))
