"""Reading what a user points to: one clear error for each way in which a file can be unusable."""

import codecs
import logging
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

from transformer_jax.errors import UserError, nearest

_Parsed = TypeVar("_Parsed")
_LOG = logging.getLogger(__name__)
_LONGEST = 2**24  # bytes in a line of a file of records: more of them is a file that has lost its line ends


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
    try:
        stat = file.stat()
    except OSError:
        return None
    return str(file.resolve()), stat.st_mtime_ns, stat.st_size


def read_text(corpus: str, file: Path) -> str:
    """The content of `file`, with line ends as newline characters.

    Raises:
      UserError: if it cannot be read, is empty, is not UTF-8 or holds NUL bytes, as a crash may leave them.
    """
    content = _content(corpus, file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"corpus {corpus!r}, path={str(file)!r}: not UTF-8 at byte {error.start} "
            f"({content[error.start]:#04x}), {_line(file, content, error.start)}; convert it to UTF-8"
        ) from None
    if b"\0" in content:
        at = content.index(b"\0")
        raise UserError(
            f"corpus {corpus!r}, path={str(file)!r}: a NUL byte at {at}, {_line(file, content, at)}; a part of the "
            "file was never written, or it is no text"
        )
    return text.replace("\r\n", "\n")


def _content(corpus: str, file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"corpus {corpus!r}, path={str(file)!r}: {error.strerror or error}") from None
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"corpus {corpus!r}, path={str(file)!r}: the file is empty")
    return content


def _line(file: Path, content: bytes, at: int) -> str:
    """`file:line` of a byte."""
    return f"{file.name}:{content.count(10, 0, at) + 1}"


def read_lines(
    corpus: str, file: Path, parse: Callable[[str], _Parsed], max_bad: int
) -> tuple[list[_Parsed], list[str]]:
    """`parse` of each line that is not blank.

    Args:
      parse: raises ValueError with the reason if a line is broken.
      max_bad: broken lines that are skipped and named. Lines that are not UTF-8, hold NUL bytes or are longer than
        16 MiB are broken, too.

    Returns:
      What was parsed, and `file:line: reason` for each broken line.

    Raises:
      UserError: if there are more than `max_bad` broken lines, or no good one.
    """
    good, bad = [], []
    lines = _content(corpus, file).removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            good.append(parse(_decoded(line)))
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


def _decoded(line: bytes) -> str:
    if len(line) > _LONGEST:
        raise ValueError(f"{len(line):,} bytes, more than {_LONGEST:,}")
    if b"\0" in line:
        raise ValueError(f"a NUL byte at column {line.index(0) + 1}")
    try:
        return line.decode().removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start} ({line[error.start]:#04x})") from None


def shortened(value: object, limit: int = 40) -> str:
    """`value` as one short text for an error message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
