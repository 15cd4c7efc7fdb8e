"""Tensors by name: those of safetensors files, read one at a time, and those at hand."""

import importlib.util
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from transformer_jax.errors import UserError
from transformer_jax.files import write_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# What can hold parameters: all fit into float32 without rounding.
FLOATS = ("F32", "F16", "BF16")
_SHARD = 5_000_000_000


def require() -> None:
    """Refuses to go on without the library that reads and writes the files.

    Raises:
      UserError: with what to install.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise UserError("checkpoints need safetensors: pip install 'transformer_jax[interop]'")


class Tensors:
    """What a format may ask of the tensors of a checkpoint, whether they lie in files or not."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays

    @property
    def names(self) -> list[str]:
        return list(self._arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        """As it is stored.

        Raises:
          UserError: if there is none.
        """
        return self._arrays[name]

    def renamed(self, names: Mapping[str, str]) -> "Tensors":
        """The same under other names: `names` is new -> old."""
        return Tensors(_Renamed(self, names))

    def differ(self, one: str, other: str) -> bool:
        """Whether both are there, and not equal byte for byte."""
        have = set(self.names)
        return {one, other} <= have and self[one].tobytes() != self[other].tobytes()

    def is_zero(self, name: str) -> bool:
        """Whether it is 0 everywhere, or not there."""
        return name not in set(self.names) or not np.any(self[name])


class _Renamed(Mapping):
    def __init__(self, tensors: Tensors, names: Mapping[str, str]):
        self._tensors, self._names = tensors, names

    def __getitem__(self, name):
        return self._tensors[self._names[name]]

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)


class Stored(Tensors):
    """The tensors of a directory; a context manager. Nothing is read until it is asked for.

    Attributes:
      metadata: of the files' headers.
      dtypes: name -> such as 'F32', 'BF16'.
    """

    def __init__(self, directory: Path):
        require()
        from safetensors import SafetensorError, safe_open

        self.metadata: dict[str, str] = {}
        self.dtypes: dict[str, str] = {}
        self._files, self._at = ExitStack(), {}
        for file in _files(directory):
            try:
                opened = self._files.enter_context(safe_open(file, framework="np"))
            except (SafetensorError, OSError) as error:
                raise UserError(f"{file} cannot be read: {error}") from None
            self.metadata |= opened.metadata() or {}
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                self._at[name] = opened
                self.dtypes[name] = opened.get_slice(name).get_dtype()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._files.close()

    @property
    def names(self):
        return list(self._at)

    def __getitem__(self, name):
        try:
            return self._at[name].get_tensor(name)
        except AttributeError:  # numpy has no such dtype
            raise UserError(f"{name}: its dtype {self.dtypes[name]} cannot be read") from None


def _files(directory: Path) -> list[Path]:
    if (directory / INDEX).is_file():
        shards = _shards(directory / INDEX)
        missing = [name for name in shards if Path(name).name != name or not (directory / name).is_file()]
        if missing:
            raise UserError(f"{directory / INDEX} names {missing[0]}, which is not there")
        return [directory / name for name in shards]
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    pickles = sorted(path.name for path in directory.glob("*.bin")) + sorted(
        path.name for path in directory.glob("*.pt")
    )
    if pickles:
        raise UserError(
            f"{directory} holds {pickles[0]}, a pickle, which can run any code when it is read, and so is never read: "
            "save the model as safetensors (in transformers: model.save_pretrained(DIR))"
        )
    raise UserError(f"{directory} holds no {WEIGHTS} and no {INDEX}")


def _shards(index: Path) -> list[str]:
    """Names of the files that an index names."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{index} cannot be read: {error}") from None
    where = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(where, dict) or not all(isinstance(file, str) for file in where.values()):
        raise UserError(f"{index} cannot be read: it has no 'weight_map' from names of tensors to names of files")
    return sorted(set(where.values()))


def write_tensors(
    directory: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str], shard: int = _SHARD
) -> None:
    """Writes model.safetensors, or shards of at most `shard` bytes each (a larger tensor has one) and their index."""
    require()
    from safetensors.numpy import save_file

    groups, filled = [{}], 0
    for name, array in arrays.items():
        if groups[-1] and filled + array.nbytes > shard:
            groups.append({})
            filled = 0
        groups[-1][name] = np.ascontiguousarray(array)
        filled += array.nbytes
    if len(groups) == 1:
        save_file(groups[0], directory / WEIGHTS, metadata=metadata)
        return
    files = [f"model-{i + 1:05d}-of-{len(groups):05d}.safetensors" for i in range(len(groups))]
    for file, group in zip(files, groups, strict=True):
        save_file(group, directory / file, metadata=metadata)
    where = {name: file for file, group in zip(files, groups, strict=True) for name in group}
    total = sum(array.nbytes for array in arrays.values())
    write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
