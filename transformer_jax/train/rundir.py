"""A run directory: everything that is needed to rerun or resume it, and its result."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax.errors import UserError
from transformer_jax.files import check_links, write_json
from transformer_jax.train import verify
from transformer_jax.train.verify import intact

_MADE, _CONFIG, _MANIFEST, _RESULT = "made.json", "config.json", "manifest.json", "result.json"
_PACKAGES = ("transformer_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
_KEPT = ("changes", "rewinds", "processes")  # of a manifest: what a later one does not forget
_ALLOW = "--allow_changes goes on with them, and records it"


def check(workdir: Path, config: ConfigDict, allow_changes: bool = False) -> list[str]:
    """Refuses a workdir that this config's run cannot have. Writes nothing.

    Returns:
      the keys that differ, a line each, if they may.

    Raises:
      UserError: if it belongs to a run of another config, with the keys that differ.
    """
    check_links(workdir)
    saved = workdir / _CONFIG
    if saved.is_file():
        # Keys that have come since the run was begun have their default.
        before = config_lib.to_dict(config_lib.from_dict(_read_json(saved)))
        diff = config_lib.differences(before, config_lib.to_dict(config))
        if diff and not allow_changes:
            raise UserError(
                f"--workdir={workdir} holds a run of another config; give another workdir, or this config back; "
                f"{_ALLOW}. saved -> given:\n  " + "\n  ".join(diff)
            )
        return diff
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file; give a directory")
    if workdir.is_dir() and any(workdir.glob("checkpoints/*")):
        raise UserError(f"--workdir={workdir} has checkpoints but no config.json; give another workdir")
    return []


def check_data(workdir: Path, identity: dict[str, str], corpus: str = "", allow_changes: bool = False) -> list[str]:
    """Refuses data that is not what the run was begun with: its token ids would mean something else.

    Args:
      corpus: its spec, for the message.

    Returns, raises:
      as `check`, naming what has changed.
    """
    before = _before(workdir, "data")
    if before is None:
        return []
    changed = [f"{key}: {before.get(key)} -> {now}" for key, now in identity.items() if now != before.get(key)]
    if changed and not allow_changes:
        lines = "\n  ".join(changed)
        of = f", data.corpus={corpus!r}," if corpus else ""
        raise UserError(f"the data of the run in {workdir}{of} has changed since it was begun; {_ALLOW}:\n  {lines}")
    return changed


def check_mesh(workdir: Path, mesh: Mesh, allow_changes: bool = False) -> list[str]:
    """Refuses a mesh other than the one that the run was begun on, `replica` aside: its sums would round otherwise.

    How many processes share the mesh does not matter.

    Returns, raises:
      as `check`, naming the axes.
    """
    before = _before(workdir, "mesh")
    if before is None:
        return []
    now = {axis: int(size) for axis, size in mesh.shape.items()}
    axes = [axis for axis in now if axis != "replica" and before.get(axis, 1) != now[axis]]
    changed = [f"mesh {axis}: {before.get(axis, 1)} -> {now[axis]} devices" for axis in axes]
    if changed and not allow_changes:
        lines = "\n  ".join(changed)
        raise UserError(
            f"the run in {workdir} was begun on another mesh: it would differ by rounding; {_ALLOW}:\n  {lines}"
        )
    return changed


def check_vocabulary(workdir: Path, data) -> None:
    """Refuses a tokenizer of another size, whatever is allowed.

    Raises:
      UserError: with both sizes.
    """
    before = (_before(workdir, "data_report") or {}).get("vocab_size", data.vocab_size)
    if before != data.vocab_size:
        raise UserError(
            f"--workdir={workdir} cannot be gone on with, --allow_changes or not: its model reads {before} different "
            f"tokens, and data.tokenizer={data.tokenizer.spec!r} now gives {data.vocab_size}"
        )


def change(workdir: Path, config: ConfigDict, lines: Sequence[str], step: int | None) -> None:
    """Records that the run goes on with changes, and makes `config` its config. The workdir's lock is held.

    A result that it had was another config's: it goes into the record. A kill in between leaves a run of the config
    before, or of the new one with its record.

    Args:
      step: of the checkpoint that it goes on from; None if there is none.
    """
    told = _read_json(workdir / _MANIFEST) if (workdir / _MANIFEST).is_file() else {}
    entry = {"step": step, "changed": list(lines), "config_sha256": _sha256(config_lib.to_dict(config))}
    result = read_result(workdir)
    if result is not None:
        entry["result_before"] = result
    write_json(workdir / _MANIFEST, told | {"changes": [*_changes(workdir, told), entry]})
    (workdir / _RESULT).unlink(missing_ok=True)
    write_json(workdir / _CONFIG, config_lib.to_dict(config))


def _changes(workdir: Path, told: dict) -> list[dict]:
    """Recorded changes that came about: config.json is written after their record."""
    found = list(told.get("changes", []))
    now = _sha256(_read_json(workdir / _CONFIG))
    while found and found[-1]["config_sha256"] != now:
        found.pop()
    return found


def _sha256(content: dict) -> str:
    """Of what config.json holds, whatever keys have come since."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def claim(workdir: Path, config: ConfigDict, made: str = "") -> None:
    """Makes `workdir` the directory of this config's run, if it is not a run's yet.

    Args:
      made: how its parameters came about, if not by training from its seed: 'imported', 'merged', 'pruned'. Such a
        run has nothing to fall back on if its checkpoint is lost.

    Raises:
      UserError: as `check`, or if it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if made:
            check(workdir, config)
            write_json(workdir / _MADE, {"how": made})
        if not (workdir / _CONFIG).is_file():
            check(workdir, config)
            write_json(workdir / _CONFIG, config_lib.to_dict(config))
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}") from None


def check_begun(workdir: Path) -> None:
    """Refuses to begin a run that was made with parameters which are no longer there.

    Raises:
      UserError: saying how it was made.
    """
    path = workdir / _MADE
    if path.is_file():
        how = _read_json(path).get("how", "made")
        raise UserError(
            f"{workdir} was {how}, and holds no checkpoint that verifies: make it again in another directory"
        )


def read_config(workdir: Path) -> ConfigDict:
    """The complete config of a run directory.

    Raises:
      UserError: if `workdir` is no run directory.
    """
    path = workdir / _CONFIG
    if not path.is_file():
        raise UserError(f"{workdir} is no run directory: it has no config.json")
    return config_lib.from_dict(_read_json(path))


def read_result(workdir: Path) -> dict | None:
    """What the run reached, if it has ended."""
    path = workdir / _RESULT
    return _read_json(path) if path.is_file() else None


def replicas_before(workdirs: list[Path]) -> int | None:
    """Over how many replicas the runs in `workdirs` were laid when they were interrupted; None if they were not."""
    for workdir in workdirs:
        begun = verify.begun(workdir / "checkpoints") or read_result(workdir) is not None
        if begun and (workdir / _MANIFEST).is_file():
            return _read_json(workdir / _MANIFEST)["mesh"]["replica"]
    return None


def manifest(config: ConfigDict, data, mesh, members: int = 1) -> dict:
    """What else decides or explains a run: versions, devices, mesh, hashes of data and tokenizer."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "fingerprint": config_lib.fingerprint(config),
        "versions": versions | {"python": platform.python_version()},
        "devices": sorted({device.device_kind for device in jax.devices()}),
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "mesh": {axis: int(size) for axis, size in mesh.shape.items()},
        "members": members,
        "data": data.identity,
        "data_report": data.report,
    }


def write_manifest(workdir: Path, told: dict) -> None:
    """Writes manifest.json; what it has recorded of changes and rewinds stays in it."""
    path = workdir / _MANIFEST
    before = _read_json(path) if path.is_file() else {}
    kept = {key: before[key] for key in _KEPT if key in before}
    if "changes" in kept:
        kept["changes"] = _changes(workdir, before)
    write_json(path, told | kept)


def record_rewinds(workdir: Path, rewinds: Sequence[dict]) -> None:
    """Puts down in manifest.json how often the run went back, and from where."""
    write_json(workdir / _MANIFEST, _read_json(workdir / _MANIFEST) | {"rewinds": list(rewinds)})


def record_processes(workdir: Path, step: int) -> None:
    """Puts down in manifest.json how many processes the run has from `step` on, if it had another number before."""
    told = _read_json(workdir / _MANIFEST)
    kept = [each for each in told.get("processes", []) if each["step"] < step]
    if not kept or kept[-1]["process_count"] != told["process_count"]:
        kept.append({"step": step, "process_count": told["process_count"]})
    write_json(workdir / _MANIFEST, told | {"processes": kept})


@contextlib.contextmanager
def disk_faults(workdir: Path) -> Iterator[None]:
    """Says of a write that fails where, why, and what is left.

    Raises:
      UserError: in place of an OSError.
    """
    try:
        yield
    except ConnectionError:  # of what reads our output
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or workdir} cannot be read or written: {error.strerror or error}; "
            f"{intact(workdir / 'checkpoints')}"
        ) from error


def _before(workdir: Path, key: str) -> dict | None:
    """A part of the manifest; None if the run was not begun."""
    path = workdir / _MANIFEST
    return _read_json(path).get(key) if path.is_file() else None


def _read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} cannot be read: it holds a {type(found).__name__} in place of an object")
    return found
