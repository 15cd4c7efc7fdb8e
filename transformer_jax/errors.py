"""The one exception that is a user's to mend: the command line prints it in one line, without a traceback."""

import difflib
import unicodedata
from collections.abc import Iterable

_TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # let text be seen in another order


class UserError(ValueError):
    """Something the user gave cannot be used. The message names the field, the value and what would do."""


def nearest(word: str, words: Iterable[str]) -> str:
    """`" (did you mean 'rope'?)"` if one of `words` is close to `word`, else an empty string."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control characters are written as \\x1b."""
    return "".join(c if c in "\n\t" or not _obeyed(c) else repr(c)[1:-1] for c in text)


def _obeyed(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _TURNS
