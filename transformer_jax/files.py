"""Files that are written whole or not at all, and directories that one process holds."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from transformer_jax.errors import UserError


def write_json(path: Path, content: object) -> None:
    """Writes beside the place and moves it there, so that a kill or a power cut leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    with open_here(partial) as file:
        file.write(json.dumps(content, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextlib.contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Holds `path` for this process; the system lets go of it when the process ends, however it ends.

    Raises:
      UserError: `refusal`, if another process holds it; or if it cannot be written.
    """
    try:
        file = open_here(path)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        yield


def open_here(path: Path) -> TextIO:
    """Opens `path` for writing, and refuses a link: who made the directory may have it lead to any file of ours."""
    return open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def check_links(directory: Path) -> None:
    """Refuses a directory whose content is not in it: what is written there would land elsewhere.

    Raises:
      UserError: naming a link that leads out of it, or what is neither a file nor a directory.
    """
    root = directory.resolve()
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not _target(path).is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of {directory}, where nothing is written: put what it leads to "
                    "in its place (the directory as a whole may be a link)"
                )
            if not (path.is_file() or path.is_dir() or path.is_symlink()):
                raise UserError(f"{path} is neither a file nor a directory: remove it")


def plain_name(name: object, where: Path) -> str:
    """`name`, if it is that of a file or directory in a directory, and leads nowhere else.

    Args:
      where: the file that gives it, for the message.

    Raises:
      UserError: if it is not.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(f"{where} names {name!r}, which is no name of a file or directory")
    return name


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # one that leads to itself
        return Path("/")
