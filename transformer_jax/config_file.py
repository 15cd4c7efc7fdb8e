"""Python files that hold a config or a study, and the overrides of a command line."""

import ast
import importlib.util
import re
import traceback
from pathlib import Path
from typing import TypeVar

from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax.errors import UserError, nearest

_Kind = TypeVar("_Kind")


def overrides_from(flags: list[str]) -> dict[str, str]:
    """`--config.a.b=value` flags as a dict of dotted key -> text.

    Raises:
      UserError: for any other flag.
    """
    overrides = {}
    for flag in flags:
        key, equals, value = flag.removeprefix("--config.").partition("=")
        if not (flag.startswith("--config.") and equals):
            raise UserError(f"unknown argument {flag!r}; a key is overridden as --config.a.b=value (see --help)")
        overrides[key] = value
    return overrides


def load(location: str, overrides: dict[str, str] | None = None) -> ConfigDict:
    """The config of `FILE.py` or `FILE.py:mode`, with `overrides` (dotted key -> text) applied.

    Raises:
      UserError: if the file is missing or does not give a config, or an override does not fit.
    """
    config = read(location, "get_config", ConfigDict)
    for key, text in (overrides or {}).items():
        config_lib.override(config, key, parse(config, key, text))
    return config


def read(location: str, function: str, kind: type[_Kind]) -> _Kind:
    """What `function(mode)` of `FILE.py:mode` returns.

    Raises:
      UserError: if there is no such file or function, it raises, or returns something else than a `kind`.
    """
    name, _, mode = location.partition(":")
    path = Path(name)
    found = _function(path, function)
    try:
        value = found(mode or None)
    except UserError:
        raise
    except Exception as error:  # whatever a user's file does wrong is told, with its place
        raise UserError(_told(path, error)) from None
    if not isinstance(value, kind):
        raise UserError(f"{path}: {function} returned {type(value).__name__}, not a {kind.__name__}")
    return value


def parse(config: ConfigDict, key: str, text: str) -> object:
    """The value that a command line's `text` means for `key`, by the type of the key."""
    node, leaf = config_lib.leaf_of(config, key)
    kind = node.get_type(leaf)
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "false", "0", "no"):
            return text.lower() in ("true", "1", "yes")
        raise UserError(f"--config.{key}={text}: give true or false")
    try:
        value = ast.literal_eval(text)
        value = float(value) if kind is float and type(value) is int else value
    except (ValueError, SyntaxError, OverflowError, RecursionError, MemoryError):
        value = text
    if value is not None and type(value) is not kind:
        raise UserError(f"--config.{key}={config_lib.shown(text)}: give {config_lib.kind_name(kind)}")
    return value


def _function(path: Path, name: str):
    """The function `name` of the Python file at `path`.

    Raises:
      UserError: if there is no such file, it cannot be run, or it has no such function.
    """
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.py")]) if path.parent.is_dir() else ""
        raise UserError(f"no such file: {path}{near}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file: a config or study is written FILE.py or FILE.py:mode")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(_told(path, error)) from None
    if not callable(getattr(module, name, None)):
        raise UserError(f"{path} has no function {name}(…)")
    return getattr(module, name)


def _told(path: Path, error: Exception) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    place = f"{path}:{lines[-1]}" if lines else str(path)
    unknown = re.search(r'Key "(\w+)" does not exist', str(error))
    if unknown:
        leaves = [key.rpartition(".")[2] for key in config_lib.known_keys()]
        return f"{place}: unknown config key {unknown[1]!r}{nearest(unknown[1], leaves)}"
    return f"{place}: {type(error).__name__}: {str(error).strip()}"
