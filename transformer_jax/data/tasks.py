"""`Task`: pairs that are made, not read, for algorithmic tasks and length generalisation."""

import hashlib
from dataclasses import dataclass

import numpy as np

from transformer_jax.data.corpora.base import SPLITS, Corpus, Splits
from transformer_jax.errors import UserError

LETTERS = "abcdefghijklmnopqrstuvwxyz"

_MOST, _LONGEST = 100_000_000, 1_000_000  # examples, and symbols of one
_BUCKETS = 16  # one part of all possible sources is set aside for valid, one for test
_ATTEMPTS = 1000  # draws for one example before the range of lengths is called too small


@dataclass(frozen=True, kw_only=True)
class Task(Corpus):
    """Pairs drawn at random; the same arguments give the same pairs every time.

    Which split a source may occur in follows from a hash of it, so that nothing in valid or test occurs in
    train. Lengths are drawn evenly from a range. Nothing separates the symbols: use a tokenizer that sees
    characters, such as `byte`.

    Attributes:
      train: least and greatest length in train and valid.
      test: least and greatest length in test, longer ones by default.
      examples: in train.
      held_out: examples in valid, and as many in test.
      seed: of the draws.
    """

    train: tuple = (1, 20)
    test: tuple = (21, 40)
    examples: int = 20000
    held_out: int = 1000
    seed: int = 0

    kind = "pairs"

    def draw(self, rng: np.random.Generator, length: int) -> tuple[str, str]:
        """One example (source, target) of a length."""
        raise NotImplementedError

    def longest(self) -> int | None:
        """The greatest length that the task allows, or None."""
        return None

    def check(self) -> None:
        for name in ("train", "test"):
            self._check_range(name, getattr(self, name))
        for name in ("examples", "held_out"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise UserError(f"{self}: {name}={getattr(self, name)}: give at least 1, at most {_MOST}")
        if self.seed < 0:
            raise UserError(f"{self}: seed={self.seed}: give a number from 0")

    def read(self) -> Splits:
        sizes = {"train": self.examples, "valid": self.held_out, "test": self.held_out}
        return Splits(**{split: self._draw_split(split, size) for split, size in sizes.items()})

    def _draw_split(self, split: str, size: int) -> list[tuple[str, str]]:
        rng = np.random.default_rng([self.seed, SPLITS.index(split)])
        least, greatest = self.test if split == "test" else self.train
        return [self._draw_into(split, rng, least, greatest) for _ in range(size)]

    def _draw_into(self, split: str, rng: np.random.Generator, least: int, greatest: int) -> tuple[str, str]:
        for _ in range(_ATTEMPTS):
            example = self.draw(rng, int(rng.integers(least, greatest + 1)))
            if split_of(example[0]) == split:
                return example
        raise UserError(
            f"{self}: too few different examples for three splits with lengths {least} to {greatest}; "
            "give a wider range"
        )

    def _check_range(self, name: str, limits: tuple) -> None:
        fits = len(limits) == 2 and all(type(limit) is int for limit in limits)
        if not fits or not 1 <= limits[0] <= limits[1] <= _LONGEST:
            raise UserError(f"{self}: {name}={limits!r}: give (least, greatest), from 1 to {_LONGEST}")
        longest = self.longest()
        if longest is not None and limits[1] > longest:
            raise UserError(f"{self}: {name}={limits!r}: the greatest length is {longest} here")


def split_of(source: str) -> str:
    """The only split in which `source` may occur."""
    bucket = hashlib.sha256(source.encode()).digest()[0] % _BUCKETS
    return {0: "test", 1: "valid"}.get(bucket, "train")
