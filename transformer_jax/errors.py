"""The one exception that is a user's to mend: the command line prints it in one line, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave cannot be used. The message names the field, the value and what would do."""


def nearest(word: str, words: Iterable[str]) -> str:
    """`" (did you mean 'rope'?)"` if one of `words` is close to `word`, else an empty string."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
