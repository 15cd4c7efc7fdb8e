"""Whether a checkpoint's files are those that were written: sha256 of each, in a manifest beside the directory."""

import errno
import hashlib
import json
import os
import re
from pathlib import Path

from transformer_jax.files import write_json

MANIFEST = ".sha256.json"
_STEP = re.compile(r"0|[1-9][0-9]{0,17}")


def steps(directory: Path) -> list[int]:
    """Committed steps, verified or not, the newest first; none if there is no such directory."""
    try:
        names = [entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted((int(name) for name in names if _STEP.fullmatch(name)), reverse=True)


def identity(directory: Path) -> tuple[int, int] | None:
    """What a directory keeps when it is moved, and another does not get; None if there is none."""
    try:
        found = directory.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def begun(directory: Path) -> bool:
    """Whether a step was ever committed that is still there, with its manifest."""
    return any(manifest_of(directory, step).is_file() for step in steps(directory))


def manifest_of(directory: Path, step: int) -> Path:
    return directory / f"{step}{MANIFEST}"


def drop_orphans(directory: Path) -> None:
    """Deletes manifests of steps that were not committed."""
    for path in directory.glob(f"*{MANIFEST}"):
        name = path.name.removesuffix(MANIFEST)
        if _STEP.fullmatch(name) and not (directory / name).is_dir():
            path.unlink()


def write_manifest(directory: Path, step: int, files: Path) -> None:
    """Hashes `files`, which are on the disk before the manifest is."""
    digests = _digests(files)
    for name in digests:
        sync(files / name)
    for folder, _, _ in os.walk(files):
        sync(Path(folder))
    write_json(manifest_of(directory, step), digests)
    sync(directory)


def fault(directory: Path, step: int) -> str | None:
    """Why step `step` does not verify; None if it does."""
    manifest = manifest_of(directory, step)
    if not manifest.is_file() or manifest.is_symlink():
        return "it has no manifest"
    try:
        told = json.loads(manifest.read_text())
    except (OSError, ValueError, RecursionError):
        return "its manifest cannot be read"
    if not isinstance(told, dict) or not told or not all(isinstance(each, str) for each in told.values()):
        return "its manifest is none"
    try:
        seen = _digests(directory / str(step))
    except OSError as error:
        return f"it cannot be read: {reason(error)}"
    for name in sorted(told.keys() | seen.keys()):
        if told.get(name) != seen.get(name):
            return f"{name} {_differs(name, told, seen)}"
    return None


def sync(path: Path) -> None:
    """Returns when a file, or the names in a directory, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot for directories
            raise
    finally:
        os.close(descriptor)


def reason(error: BaseException) -> str:
    """The cause of an error that a disk has led to, in a few words: orbax and tensorstore wrap it in many."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return f"{found.strerror}: {found.filename}" if found.filename else found.strerror
        found = found.__cause__ or found.__context__
    text = " ".join(str(error).split())
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES):
        if os.strerror(number) in text:
            return os.strerror(number)
    return f"{type(error).__name__}: {text[:300]}"


def intact(directory: Path) -> str:
    """What is left to go on from, for a message."""
    found = steps(directory)
    if not found:
        return "there is no checkpoint yet"
    return f"checkpoints {', '.join(map(str, found))} are intact, and the same command goes on from {found[0]}"


def _differs(name: str, told: dict, seen: dict) -> str:
    if name not in seen:
        return "is missing"
    return "differs from the manifest" if name in told else "is not in the manifest"


def _digests(directory: Path) -> dict[str, str]:
    """sha256 of every file below `directory`; of what is no plain file, what it is."""
    found = {}
    for folder, folders, files in os.walk(directory, onerror=_raise):
        for name in [*files, *(each for each in folders if os.path.islink(os.path.join(folder, each)))]:
            path = Path(folder, name)
            plain = path.is_file() and not path.is_symlink()
            found[str(path.relative_to(directory))] = _sha256(path) if plain else "no plain file"
    return found


def _raise(error: OSError) -> None:
    raise error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
