"""Associative recall (Ba et al. 2016): which value was beside this key?"""

from dataclasses import dataclass

import numpy as np

from transformer_jax.data.corpora.base import corpora
from transformer_jax.data.tasks import LETTERS, Task


@corpora.register("associative_recall")
@dataclass(frozen=True, kw_only=True)
class AssociativeRecall(Task):
    """`'c9k8j3?k' -> '8'`: keys are different letters, values digits. The length is the number of pairs."""

    train: tuple = (1, 8)
    test: tuple = (9, 16)

    def longest(self) -> int | None:
        return len(LETTERS)

    def draw(self, rng: np.random.Generator, length: int) -> tuple[str, str]:
        keys = rng.permutation(len(LETTERS))[:length]
        values = rng.integers(10, size=length)
        asked = int(rng.integers(length))
        pairs = "".join(f"{LETTERS[k]}{v}" for k, v in zip(keys, values, strict=True))
        return f"{pairs}?{LETTERS[keys[asked]]}", str(values[asked])
