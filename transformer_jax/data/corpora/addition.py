"""Addition of two numbers, digit by digit."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from transformer_jax.data.corpora.base import corpora
from transformer_jax.data.tasks import Task


@corpora.register("addition")
@dataclass(frozen=True, kw_only=True)
class Addition(Task):
    """`'12+345' -> '357'`. The length is the number of digits of the longer summand.

    Attributes:
      order: of the answer's digits; 'reversed' starts with the ones, as carries do.
    """

    train: tuple = (1, 5)
    test: tuple = (6, 8)
    order: Literal["usual", "reversed"] = "usual"

    def draw(self, rng: np.random.Generator, length: int) -> tuple[str, str]:
        digits = [length, int(rng.integers(1, length + 1))]
        # Digits are drawn one by one: any length is allowed, and none starts with 0 but 0 itself.
        numbers = [_number(rng, n) for n in digits]
        first, second = (numbers[i] for i in rng.permutation(2))
        answer = str(first + second)
        return f"{first}+{second}", answer if self.order == "usual" else answer[::-1]


def _number(rng: np.random.Generator, n_digits: int) -> int:
    least = 0 if n_digits == 1 else 1
    return int("".join(map(str, [rng.integers(least, 10), *rng.integers(10, size=n_digits - 1)])))
