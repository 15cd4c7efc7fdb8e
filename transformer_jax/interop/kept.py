"""What a run directory keeps of a checkpoint, so that an export is the import again."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.files import write_json
from transformer_jax.interop.convert import Origin
from transformer_jax.interop.fields import read_json
from transformer_jax.interop.tensors import INDEX, WEIGHTS, Stored, write_tensors

# In a run directory: the checkpoint's files beside its tensors, and what an export needs beside the parameters.
KEPT = "huggingface"
_ORIGIN = "origin.json"

# By name: a local directory may hold anything else, which is nobody's to copy and to publish.
FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
)
# Of a repository; never a pickle.
PATTERNS = (*FILES, INDEX, "*.safetensors")


def keep(source: Path, origin: Origin, kept: Path) -> None:
    """Puts down the files of a checkpoint in `source`, and its tensors that are no parameters."""
    kept.mkdir()
    copy_files(source, kept)
    if origin.kept:
        write_tensors(kept, origin.kept, {}, shard=1 << 62)


def copy_files(source: Path, target: Path) -> None:
    """Those that checkpoints have beside their tensors; no directory, pipe or device of such a name."""
    for file in _files(source):
        _check_link(file)
        shutil.copyfile(file, target / file.name)


def write_origin(kept: Path, format: str, origin: Origin) -> None:
    """Says that the checkpoint was of `format`, and what else an export needs; the tensors `keep` has put down."""
    told = {each.name: getattr(origin, each.name) for each in dataclasses.fields(origin) if each.name != "kept"}
    write_json(kept / _ORIGIN, {"format": format, **told})


def read_origin(kept: Path) -> tuple[str, Origin] | None:
    """(format, origin) that `write_origin` and `keep` have put down, if they have."""
    if not (kept / _ORIGIN).is_file():
        return None
    told = _checked(read_json(kept / _ORIGIN), kept / _ORIGIN)
    tensors = {}
    if (kept / WEIGHTS).is_file():
        with Stored(kept) as stored:
            tensors = {name: stored[name] for name in stored.names}
    return told.pop("format"), Origin(**told | {"order": tuple(told["order"])}, kept=tensors)


def _checked(told: dict, path: Path) -> dict:
    """What `write_origin` writes.

    Raises:
      UserError: if it is not.
    """
    kinds = {each.name: dict for each in dataclasses.fields(Origin) if each.name != "kept"} | {"order": list}
    if told.keys() != kinds.keys() | {"format"} or not isinstance(told["format"], str):
        raise UserError(f"{path} is not what an import leaves behind")
    for name, kind in kinds.items():
        values = told[name].values() if kind is dict and isinstance(told[name], dict) else told[name]
        if not isinstance(told[name], kind) or not all(isinstance(value, str) for value in values):
            raise UserError(f"{path}: {name} is not what an import leaves behind")
    return told


def _check_link(file: Path) -> None:
    """Refuses a link that leads out of the checkpoint: what it leads to would be copied, and published with an export.

    Raises:
      UserError: naming it. The hub's cache is made of links to its own blobs.
    """
    home, end = file.parent.resolve(), file.resolve()
    inside = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    if file.is_symlink() and not any(end.is_relative_to(each) for each in inside):
        raise UserError(f"{file} is a link that leads out of its directory, to {end}: put the file itself there")


def _files(directory: Path) -> Iterator[Path]:
    for pattern in FILES:
        yield from (path for path in sorted(directory.glob(pattern)) if path.is_file())
