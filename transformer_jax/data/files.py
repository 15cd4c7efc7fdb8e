"""Reading what a user points to: one clear error for each way in which a file can be unusable."""

import logging
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

from transformer_jax.errors import UserError, nearest

_Parsed = TypeVar("_Parsed")
_LOG = logging.getLogger(__name__)


def check_file(corpus: str, path: str) -> Path:
    """The file at `path`.

    Raises:
      UserError: if there is none, or it is a directory; `corpus` is named as the place of the argument.
    """
    if not path:
        raise UserError(f"corpus {corpus!r}: give the file to read, {corpus}(path='FILE')")
    file = Path(path).expanduser()
    if file.is_dir():
        raise UserError(f"corpus {corpus!r}, path={path!r}: this is a directory; give a file")
    if not file.is_file():
        near = nearest(file.name, [p.name for p in file.parent.iterdir()]) if file.parent.is_dir() else ""
        raise UserError(f"corpus {corpus!r}, path={path!r}: no such file{near}")
    return file


def stamp(path: str) -> Hashable:
    """Place, time and size of the file at `path`, or None."""
    file = Path(path).expanduser()
    if not file.is_file():
        return None
    stat = file.stat()
    return str(file.resolve()), stat.st_mtime_ns, stat.st_size


def read_text(corpus: str, file: Path) -> str:
    """The content of `file`, with line ends as newline characters.

    Raises:
      UserError: if it cannot be read, is empty or is not UTF-8.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"corpus {corpus!r}, path={str(file)!r}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"corpus {corpus!r}, path={str(file)!r}: not UTF-8 at byte {error.start} "
            f"({error.object[error.start]:#04x}); convert it to UTF-8"
        ) from None
    if not text.strip():
        raise UserError(f"corpus {corpus!r}, path={str(file)!r}: the file is empty")
    return text.replace("\r\n", "\n")


def read_lines(
    corpus: str, file: Path, parse: Callable[[str], _Parsed], max_bad: int
) -> tuple[list[_Parsed], list[str]]:
    """`parse` of each line that is not blank.

    Args:
      parse: raises ValueError with the reason if a line is broken.
      max_bad: broken lines that are skipped and named.

    Returns:
      What was parsed, and `file:line: reason` for each broken line.

    Raises:
      UserError: if there are more than `max_bad` broken lines, or no good one.
    """
    good, bad = [], []
    for number, line in enumerate(read_text(corpus, file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            good.append(parse(line))
        except ValueError as error:
            bad.append(f"{file.name}:{number}: {error}")
            _LOG.warning("skipped a broken line, %s", bad[-1])
        if len(bad) > max_bad:
            raise UserError(
                f"corpus {corpus!r}, path={str(file)!r}: more than max_bad={max_bad} broken lines, the first "
                f"ones {'; '.join(bad[:3])}; mend them or give a larger max_bad"
            )
    if not good:
        raise UserError(f"corpus {corpus!r}, path={str(file)!r}: no usable line; {'; '.join(bad[:3])}")
    return good, bad


def shortened(value: object, limit: int = 40) -> str:
    """`value` as one short text for an error message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
