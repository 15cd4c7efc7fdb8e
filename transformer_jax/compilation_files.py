"""The directory of compiled programs: who may write to it, and what goes from it."""

import os
import stat
import time
import zlib
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.files import locked

LIMIT = 2 * 2**30  # bytes
_SUFFIX = "-cache"  # jax's, of a program
_BEING_WRITTEN = 60.0  # seconds for which a file that looks torn may only be unfinished
_CHECKED = ".checked"  # as old as the last look at what had been written


def mistrust(directory: Path) -> str:
    """Why programs in a directory must not be run, or cannot be kept; empty if nothing speaks against it.

    It is made if it is not there, for this user alone. Whoever may write to it, or move it away, or could have put a
    file into it, runs code as the user: only the user and root may.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = directory.resolve(strict=True)
        for place in (directory, *directory.parents):
            if reason := _of_others(place, place.stat(), sticky=place != directory):
                return reason
        if not os.access(directory, os.W_OK | os.X_OK):
            return f"{directory} cannot be written"
        with os.scandir(directory) as entries:
            found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
    except (OSError, RuntimeError) as error:  # RuntimeError: no home, or a link that leads to itself
        return f"{directory} cannot be used: {getattr(error, 'strerror', None) or error}"
    return next(filter(None, (_of_others(Path(path), status) for path, status in found)), "")


def tidy(directory: Path, limit: int = LIMIT) -> None:
    """Removes programs that a killed process left torn, and those used longest ago if all together are too large.

    jax writes a program in place, so that one that was cut off would be found, refused and compiled again each time.
    """
    try:
        with locked(directory / ".lock", "another process tidies up"):
            found = {path: path.stat() for path in directory.glob("*" + _SUFFIX)}
            _remove_torn(directory, found)
            _remove_oldest(found, limit)
    except (OSError, UserError):  # it can wait
        return


def _of_others(place: Path, status: os.stat_result, sticky: bool = False) -> str:
    """Why a file or directory is not the user's alone; empty if it is.

    Args:
      sticky: whether others may write to it if they cannot rename what is not theirs, as in /tmp.
    """
    if status.st_uid not in (0, os.geteuid()):
        return f"{place} belongs to somebody else, who could have it run code as you"
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode)
    if writable and not (sticky and status.st_mode & stat.S_ISVTX):
        return f"others may write to {place}, and so have it run code as you (chmod go-w)"
    return ""


def _remove_torn(directory: Path, found: dict[Path, os.stat_result]) -> None:
    stamp, now = directory / _CHECKED, time.time()
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    for path, status in list(found.items()):
        if since <= status.st_mtime < now - _BEING_WRITTEN and not _whole(path):
            _remove(path)
            del found[path]
    stamp.touch()
    os.utime(stamp, (now, now - _BEING_WRITTEN))


def _whole(path: Path) -> bool:
    """Whether a file compressed with zlib is all there; what is compressed otherwise, jax finds out itself."""
    content = path.read_bytes()
    if content[:1] not in (b"", b"\x78"):
        return True
    try:
        stream = zlib.decompressobj()
        stream.decompress(content)
    except zlib.error:
        return False
    return stream.eof


def _remove_oldest(found: dict[Path, os.stat_result], limit: int) -> None:
    size = sum(status.st_size for status in found.values())
    for path, status in sorted(found.items(), key=lambda item: max(item[1].st_atime, item[1].st_mtime)):
        if size <= limit:
            return
        _remove(path)
        size -= status.st_size


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name.removesuffix(_SUFFIX) + "-atime").unlink(missing_ok=True)  # beside it if jax evicts, too
