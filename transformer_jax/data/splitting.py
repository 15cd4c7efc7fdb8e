"""Which examples are held out, and that none of them is met in training."""

import hashlib
from collections.abc import Sequence

from transformer_jax.data.corpora.base import Example, Splits
from transformer_jax.errors import UserError


def by_content(examples: Sequence[Example], fraction: float) -> Splits:
    """Holds out `fraction` of the distinct examples for valid and as many for test.

    Membership follows from a hash of the document, or of the source of a pair: it does not depend on the
    order of the file, and equal examples always fall into the same split. Of fewer than three documents,
    the end of each is held out instead.

    Raises:
      UserError: if `fraction` is not between 0 and 0.5, or fewer than three pairs are given.
    """
    check_fraction(fraction)
    distinct = sorted({example_key(example) for example in examples}, key=_digest)
    if len(distinct) < 3:
        if not all(isinstance(example, str) for example in examples):
            raise UserError(f"{len(distinct)} distinct pairs cannot be split in three; give at least 3")
        return by_tail(list(dict.fromkeys(examples)), fraction)
    held = min(max(1, round(len(distinct) * fraction)), (len(distinct) - 1) // 2)
    test, valid = set(distinct[:held]), set(distinct[held : 2 * held])
    parts = {"train": [], "valid": [], "test": []}
    for example in examples:
        k = example_key(example)
        parts["test" if k in test else "valid" if k in valid else "train"].append(example)
    return Splits(**parts)


def example_key(example: Example) -> str:
    """What decides the split of an example: the document, or the source of a pair."""
    return example if isinstance(example, str) else example[0]


def by_tail(documents: Sequence[str], fraction: float) -> Splits:
    """Holds out the end of each document, `fraction` for valid and as much for test, cut at white space."""
    check_fraction(fraction)
    parts = {"train": [], "valid": [], "test": []}
    for text in documents:
        first = _cut(text, round(len(text) * (1 - 2 * fraction)))
        second = _cut(text, round(len(text) * (1 - fraction)))
        pieces = {"train": text[:first], "valid": text[first:second], "test": text[second:]}
        for name, piece in pieces.items():
            if piece.strip():
                parts[name].append(piece)
    return Splits(**parts)


def without_leaks(splits: Splits) -> Splits:
    """Drops from train what also occurs in valid or test, and from valid what also occurs in test.

    For pairs one common side is enough. `notes['leaked']` counts what was dropped, by split.
    """
    test_texts = _sides(splits.test)
    valid = [example for example in splits.valid if not _leaks(example, test_texts)]
    held_texts = [a | b for a, b in zip(test_texts, _sides(splits.valid), strict=True)]
    train = [example for example in splits.train if not _leaks(example, held_texts)]
    leaked = {"train": len(splits.train) - len(train), "valid": len(splits.valid) - len(valid)}
    return Splits(train, valid, splits.test, {**splits.notes, "leaked": leaked})


def check_fraction(fraction: float) -> None:
    """Raises UserError unless `fraction` can be held out twice."""
    if not 0 < fraction < 0.5:
        raise UserError(f"held_out={fraction!r}: give a fraction between 0 and 0.5")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _cut(text: str, near: int) -> int:
    while 0 < near < len(text) and not text[near].isspace():
        near += 1
    return near


def _sides(examples: Sequence[Example]) -> tuple[set[str], set[str]]:
    pairs = [(example, example) if isinstance(example, str) else example for example in examples]
    return {source for source, _ in pairs}, {target for _, target in pairs}


def _leaks(example: Example, held: Sequence[set[str]]) -> bool:
    source, target = (example, example) if isinstance(example, str) else example
    return source in held[0] or target in held[1]
