"""Checkpoints by orbax: the state and what else a resumed run needs, with a sha256 manifest verified before a restore.

Orbax alone restores a flipped byte without an error, so a step counts only with a manifest of its files. A step is
written as `N.saving`, hashed, and renamed to `N` when its manifest is on the disk: whatever happens before that
leaves no step `N`. Restoring walks back to the newest step that verifies. What does not verify is renamed
`N.corrupt`, never deleted, and the user is told.

Nothing is read from a step before its files were hashed by the same `Checkpoints`, or the same call of
`restore_newest`. What changes on the disk between the hash and the read is not seen.
"""

import contextlib
import gc
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import orbax.checkpoint.experimental.v1 as ocp

from transformer_jax.errors import UserError
from transformer_jax.parallel import distributed
from transformer_jax.train import verify

# What a killed process leaves behind: saves that were not committed, and deletions that were not finished.
_UNFINISHED = re.compile(r"\d+\.(saving|deleted)(\..*)?|.*\.orbax-checkpoint-tmp.*")

_STRAGGLERS = 1.0  # seconds until the last thread of a save that failed has noticed


class Checkpoints:
    """The checkpoints of the run that trains in a directory. Those who only read use `restore_newest`.

    All processes of a run make one and call its methods together; process 0 alone hashes, renames and deletes.

    Args:
      directory: absolute; made if it is not there. Unfinished saves in it are removed.
      keep: how many of the newest steps are kept.

    Raises:
      UserError: if the directory cannot be written.
    """

    def __init__(self, directory: Path, keep: int):
        self.directory, self._keep = directory, keep
        self._verified: set[int] = set()
        distributed.from_first(self._told, "cannot be written", self._clean)
        self._identity = verify.identity(directory)

    @property
    def latest(self) -> int | None:
        """The newest step, or None."""
        return next(iter(self.steps), None)

    @property
    def steps(self) -> list[int]:
        """Committed steps, the newest first."""
        return distributed.from_first(verify.steps, self.directory)

    def save(self, step: int, state, rest: dict) -> None:
        """Writes step `step` and returns when it is committed and its manifest is written. Older ones stay.

        Args:
          rest: what is no array, JSON-ready: the data iterator's state, the clock, metrics not logged yet.

        Raises:
          UserError: if it cannot be written; nothing of it is left, and the older ones are as they were.
        """
        if step in distributed.from_first(self._steps_here):
            return
        what = f"cannot take checkpoint {step}"
        saving = self.directory / f"{step}.saving"
        with _quiet():
            self._told(what, ocp.save_checkpointables, saving, {"state": state, "rest": rest})
        distributed.from_first(self._told, what, self._commit, step, saving)
        self._verified.add(step)

    def prune(self) -> None:
        """Deletes all but the newest steps. Only when a new one can be verified: until then the old is all there is."""
        distributed.from_first(self._told, "cannot be written", self._delete, self.steps[self._keep :])

    def restore(self, state_structs, step: int | None = None) -> tuple[object, dict]:
        """(state, rest) of a step that verifies, the newest one if None.

        Args:
          state_structs: ShapeDtypeStructs with shardings, as the state shall lie.

        Raises:
          UserError: if the step does not verify, or holds another state.
        """
        step = self.latest if step is None else step
        fault = distributed.from_first(self.fault, step)
        if fault:
            raise UserError(f"checkpoint {step} in {self.directory} does not verify: {fault}")
        restored = load(self.directory / str(step), {"state": state_structs, "rest": None})
        return restored["state"], restored["rest"]

    def close(self) -> None:
        """Nothing is open between calls."""

    # What follows is called by process 0 alone.

    def _steps_here(self) -> list[int]:
        """The steps, of the directory that was opened: orbax would make it anew, and the run go on beside itself."""
        if verify.identity(self.directory) != self._identity:
            raise UserError(
                f"{self.directory} was moved, removed or replaced while the run was training: its checkpoints are "
                "where it was moved to, and the same command goes on once they are back"
            )
        return verify.steps(self.directory)

    def fault(self, step: int) -> str | None:
        """What is wrong with a step; looked for once, as a step is never changed."""
        if step in self._verified:
            return None
        found = verify.fault(self.directory, step)
        if found is None:
            self._verified.add(step)
        return found

    def set_aside(self, step: int, fault: str) -> None:
        """Renames a step that does not verify, and says so."""
        aside = self.directory / f"{step}.corrupt"
        while os.path.lexists(aside):
            aside = aside.with_name(aside.name + "_")
        self._told("cannot be written", self._rename, step, aside)
        run = self.directory.parent.name
        print(f"warning: {run}: checkpoint {step} does not verify ({fault}); kept as {aside.name}", flush=True)

    def delete_newer(self, step: int | None) -> None:
        """Deletes what is newer than `step`, which is made again; everything if None."""
        newer = [each for each in verify.steps(self.directory) if step is None or each > step]
        self._told("cannot be written", self._delete, newer)

    def _clean(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        probe = self.directory / "0.saving"  # a directory that cannot be written is found now, not at the first save
        self._discard([path for path in self.directory.iterdir() if _UNFINISHED.fullmatch(path.name)])
        probe.mkdir()
        probe.rmdir()
        verify.drop_orphans(self.directory)

    def _commit(self, step: int, saving: Path) -> None:
        """From here on the step is there, after a power cut, too."""
        verify.write_manifest(self.directory, step, saving)
        saving.rename(self.directory / str(step))
        verify.sync(self.directory)

    def _rename(self, step: int, aside: Path) -> None:
        (self.directory / str(step)).rename(aside)
        manifest = verify.manifest_of(self.directory, step)
        if manifest.is_file():
            manifest.rename(aside.with_name(aside.name + verify.MANIFEST))

    def _delete(self, steps: Sequence[int]) -> None:
        for step in steps:
            self._verified.discard(step)
            gone = self.directory / f"{step}.deleted"
            (self.directory / str(step)).rename(gone)  # at once, so that no half of it is taken for a step
            verify.manifest_of(self.directory, step).unlink(missing_ok=True)
            self._discard([gone])

    def _discard(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _told(self, what: str, function: Callable, *args) -> None:
        """`function(*args)`, in which everything that goes wrong is the disk's fault: the arguments are our own."""
        try:
            function(*args)
        except UserError:
            raise
        except Exception as error:
            for path in self.directory.glob("*.saving*"):  # it takes the room that others may need
                shutil.rmtree(path, ignore_errors=True)
            raise UserError(
                f"{self.directory} {what}: {verify.reason(error)}; {verify.intact(self.directory)}"
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what orbax and tensorstore print of a save that fails, from many threads: it is raised here and told."""
    hooks, logs = (threading.excepthook, sys.unraisablehook), [logging.getLogger(name) for name in ("absl", "asyncio")]
    threading.excepthook = sys.unraisablehook = nothing = lambda _: False
    for log in logs:
        log.addFilter(nothing)
    try:
        yield
    except Exception:
        time.sleep(_STRAGGLERS)
        gc.collect()  # of futures that nobody has asked for their error
        raise
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        for log in logs:
            log.removeFilter(nothing)


def common_step(all_members: Sequence[Checkpoints]) -> int | None:
    """The newest step that all runs of a population have and that verifies; None if they begin anew.

    A kill may leave some with a newer step than others: that one is deleted, and made again.
    """
    return distributed.from_first(_common_step, all_members)


def _common_step(all_members: Sequence[Checkpoints]) -> int | None:
    while True:
        common = set.intersection(*(set(verify.steps(each.directory)) for each in all_members))
        step = max(common, default=None)
        faults = [] if step is None else [each.fault(step) for each in all_members]
        for each, fault in zip(all_members, faults, strict=False):
            if fault:
                each.set_aside(step, fault)
        if any(faults):
            continue
        for each in all_members:
            each.delete_newer(step)
        return step


def restore_newest(directory: Path, state_structs) -> tuple[object, int]:
    """(state, step) of the newest checkpoint that verifies. Changes nothing: the run may still be training.

    Raises:
      UserError: if there is none.
    """
    tried = None
    while tried != (tried := verify.steps(directory)):  # again, if a live run has replaced some in the meantime
        for step in tried:
            if verify.fault(directory, step) is None:
                try:
                    return load(directory / str(step), {"state": state_structs})["state"], step
                except UserError:
                    if (directory / str(step)).is_dir():
                        raise
    raise UserError(f"{directory} holds no checkpoint that verifies")


def load(path: Path, wanted: dict) -> dict:
    """What orbax holds in `path`, which is verified.

    Raises:
      UserError: if that is not what is wanted, naming the arrays that differ.
    """
    try:
        return ocp.load_checkpointables(path, wanted)
    except (ValueError, KeyError, OSError) as error:
        different = shape_differences(path, wanted["state"]) or [verify.reason(error)]
        raise UserError(f"{path} does not hold the state of this config: {'; '.join(different[:5])}") from error


def shape_differences(path: Path, state_structs) -> list[str]:
    """In which arrays a verified checkpoint differs from `state_structs`: `name: (2, 32) -> (2, 64)`, a line each."""
    try:
        saved = ocp.metadata(path, "state").metadata
    except Exception as error:  # orbax raises many kinds for what is not one of its checkpoints
        return [verify.reason(error)]
    before, now = ({_name(path): leaf for path, leaf in jax.tree.leaves_with_path(t)} for t in (saved, state_structs))
    found = []
    for name in sorted(before.keys() | now.keys(), key=lambda name: (not name.startswith("params"), name)):
        one, other = (tuple(each[name].shape) if name in each else "none" for each in (before, now))
        if one != other:
            found.append(f"{name}: {one} -> {other}")
    return found


def _name(path) -> str:
    """'params/decoder/out' of a path in a tree of dataclasses and tuples, or of the dicts that orbax makes of them."""
    return "/".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path)
