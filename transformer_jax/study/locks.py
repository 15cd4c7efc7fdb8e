"""Locks between processes: the system lets go of them when their process ends, however it ends.

They are taken with flock, which works between machines too if their shared file system supports it.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.files import open_here

_PAUSE = 0.05  # seconds between two tries


@contextlib.contextmanager
def held(path: Path, patience: float) -> Iterator[bool]:
    """Holds `path` while the body runs; gives False, and holds nothing, if another process does.

    Args:
      path: made if it is not there, and never removed.
      patience: for how many seconds to try. Whoever looks whether it is held holds it for an instant.

    Raises:
      UserError: if the file system cannot lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_here(path) as file:
        until = time.monotonic() + patience
        while not (mine := _flock(file, fcntl.LOCK_EX)) and time.monotonic() < until:
            time.sleep(_PAUSE)
        yield mine


def is_held(path: Path) -> bool:
    """Whether a process holds `path` now."""
    try:
        with path.open() as file:
            return not _flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _flock(file, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{file.name} cannot be locked ({error.strerror}): studies need a file system with flock; "
            "see docs/clusters.md"
        ) from None
    return True
