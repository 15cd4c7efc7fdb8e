"""What is shown on a terminal: text of others must not command it."""

import contextlib
import sys
from collections.abc import Iterator

from transformer_jax.errors import printable


class Plain:
    """A stream that writes out control characters, as `\\x1b`, in place of sending them to a terminal."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Standard output as `Plain`, where it is a terminal; what goes into a file or a pipe stays as it is."""
    if not sys.stdout.isatty():
        yield
        return
    with contextlib.redirect_stdout(Plain(sys.stdout)):
        yield
