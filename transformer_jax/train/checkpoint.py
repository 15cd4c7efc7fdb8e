"""Checkpoints: state and data iterator by orbax, with a sha256 manifest that is verified on restore.

Orbax alone restores a flipped byte without an error, so every committed step gets a manifest, and restoring
walks back to the newest step that verifies. What does not verify is renamed `N.corrupt`, never deleted.
"""

import hashlib
import json
from pathlib import Path

import orbax.checkpoint.experimental.v1 as ocp

from transformer_jax.errors import UserError

_MANIFEST = "{step}.sha256.json"


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
      directory: absolute; made if it is not there.
      keep: how many of the newest steps are kept.
    """

    def __init__(self, directory: Path, keep: int):
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.corrupt = self._set_corrupt_aside()
        policy = ocp.training.preservation_policies.LatestN(keep)
        self._checkpointer = ocp.training.Checkpointer(
            directory, preservation_policy=policy, cleanup_tmp_directories=True
        )

    @property
    def latest(self) -> int | None:
        """The newest step that verifies, or None."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, state, iterator_state: dict) -> None:
        """Writes step `step` and returns when it is committed and its manifest is written."""
        if self.latest == step:
            return
        self._checkpointer.save_checkpointables(step, {"state": state, "iterator": iterator_state}, force=True)
        self._checkpointer.wait()
        path = self._directory / _MANIFEST.format(step=step)
        path.write_text(json.dumps(_digests(self._directory / str(step)), indent=1, sort_keys=True))
        for manifest in self._directory.glob(_MANIFEST.format(step="*")):
            if not (self._directory / manifest.name.partition(".")[0]).is_dir():
                manifest.unlink()

    def restore(self, state_structs) -> tuple[object, dict]:
        """(state, iterator state) of the newest step.

        Args:
          state_structs: ShapeDtypeStructs with shardings, as the state shall lie.
        """
        try:
            restored = self._checkpointer.load_checkpointables(self.latest, {"state": state_structs, "iterator": None})
        except ValueError as error:
            raise UserError(
                f"{self._directory / str(self.latest)} does not hold the state of this config: {error}"
            ) from error
        return restored["state"], restored["iterator"]

    def close(self) -> None:
        self._checkpointer.close()

    def _set_corrupt_aside(self) -> list[str]:
        """Renames the newest steps that do not verify; returns what was found, a line each."""
        found = []
        steps = sorted((int(p.name) for p in self._directory.iterdir() if p.name.isdigit()), reverse=True)
        for step in steps:
            fault = _fault(self._directory, step)
            if fault is None:
                break
            aside = self._directory / f"{step}.corrupt"
            while aside.exists():
                aside = aside.with_name(aside.name + "_")
            (self._directory / str(step)).rename(aside)
            found.append(f"checkpoint {step} does not verify ({fault}); kept as {aside.name}")
        return found


def _fault(directory: Path, step: int) -> str | None:
    manifest = directory / _MANIFEST.format(step=step)
    if not manifest.is_file():
        return "it has no manifest"
    try:
        told = json.loads(manifest.read_text())
    except json.JSONDecodeError:
        return "its manifest cannot be read"
    seen = _digests(directory / str(step))
    wrong = sorted(name for name in told.keys() | seen.keys() if told.get(name) != seen.get(name))
    return f"{wrong[0]} differs from the manifest" if wrong else None


def _digests(directory: Path) -> dict[str, str]:
    """sha256 of every file below `directory`."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
