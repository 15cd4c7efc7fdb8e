"""Compiled programs: counted as they are made, and kept on disk for the next process (docs/compilation.md)."""

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from transformer_jax.compilation_files import mistrust, tidy
from transformer_jax.errors import UserError

SWITCH = "TRANSFORMER_JAX_COMPILATION_CACHE"  # 'on' (default) or 'off': of the directory that is chosen here
_COMPILED = "/jax/core/compile/backend_compile_duration"  # also where the program was only loaded
_LOADED = "/jax/compilation_cache/cache_hits"


@dataclass
class Counted:
    """What was compiled.

    Attributes:
      names: of the functions, in order, those that were loaded included: `jit(steps)`.
      loaded: how many of them came from the disk.
    """

    names: list[str] = field(default_factory=list)
    loaded: int = 0

    @property
    def compiled(self) -> int:
        """How many were compiled."""
        return len(self.names) - self.loaded


@contextlib.contextmanager
def counted() -> Iterator[Counted]:
    """Counts what this process compiles meanwhile, in all of its threads."""
    found = Counted()

    def duration(event: str, seconds: float, **details) -> None:
        if event == _COMPILED:
            found.names.append(details.get("fun_name", ""))

    def happened(event: str, **details) -> None:
        found.loaded += event == _LOADED

    jax.monitoring.register_event_duration_secs_listener(duration)
    jax.monitoring.register_event_listener(happened)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(duration)
        jax.monitoring.unregister_event_listener(happened)


def keep() -> Path | None:
    """From now on, programs that took long to compile are kept on disk, and loaded from there.

    A directory that the user named (`JAX_COMPILATION_CACHE_DIR`) is left to jax. Otherwise one in the user's own cache
    is taken, of this kind of processor. A directory to which others may write is not used, as what is loaded from it
    runs; nor one that cannot be written. Either costs a warning, never the run.

    Returns:
      where they are kept; None if nowhere: switched off, refused, or there are several processes.

    Raises:
      UserError: if the switch is set to something else than 'on' or 'off'.
    """
    named = jax.config.jax_compilation_cache_dir
    if named is not None:
        if "://" not in named and (reason := mistrust(Path(named))):
            _warn(f"JAX_COMPILATION_CACHE_DIR={named} is not used: {reason}")
            _use(None)
            return None
        return Path(named)
    if not (_wanted() and jax.config.jax_enable_compilation_cache) or jax.process_count() > 1:
        return None
    directory = _home() / "transformer_jax" / "compiled" / _kind()
    if reason := mistrust(directory):
        _warn(f"compiled programs are not kept: {reason}")
        return None
    tidy(directory)
    _use(directory)
    return directory


@contextlib.contextmanager
def kept() -> Iterator[Path | None]:
    """`keep`, for as long as this lasts."""
    before = jax.config.jax_compilation_cache_dir
    try:
        yield keep()
    finally:
        if jax.config.jax_compilation_cache_dir != before:
            _use(before)


def _wanted() -> bool:
    value = os.environ.get(SWITCH, "on")
    if value not in ("on", "off"):
        raise UserError(f"{SWITCH}={value!r}: give 'on' or 'off'")
    return value == "on"


def _home() -> Path:
    """Where a user's caches are; a relative path does not count, says the XDG specification."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"


def _kind() -> str:
    """A name for what can run here what was compiled here.

    A program compiled for a newer processor would crash an older one; one compiled for a single core would leave the
    others idle: XLA splits its loops for as many as it may use, and neither is part of jax's key.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    features = sorted({line for line in lines if line.startswith(("flags", "Features"))})
    name = f"{platform.machine()}-{hashlib.sha256(' '.join(features).encode()).hexdigest()[:8]}"
    if jax.default_backend() != "cpu":
        return name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}-{cores}"


def _use(directory: Path | None) -> None:
    jax.config.update("jax_compilation_cache_dir", None if directory is None else str(directory))
    compilation_cache.reset_cache()  # which may have been asked before


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)
