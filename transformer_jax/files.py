"""Files that are written whole or not at all, and directories that one process holds."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from transformer_jax.errors import UserError


def write_json(path: Path, content: object) -> None:
    """Writes beside the place and moves it there, so that a kill leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)


@contextlib.contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Holds `path` for this process; the system lets go of it when the process ends, however it ends.

    Raises:
      UserError: `refusal`, if another process holds it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        yield
