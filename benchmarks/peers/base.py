"""The interface of a peer, and the registry of them."""

import hashlib
import importlib.util
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks.task import Task
from transformer_jax.errors import UserError
from transformer_jax.registry import Registry, format_spec, parse_spec

peers = Registry("peer", "benchmarks.peers", base_fields=("task",))


class Entry(Protocol):
    """A model that is ready to run.

    Attributes:
      parameters: how many.
      compiling: seconds of 'trace' and 'compile' where they are known apart from the first run, else empty.
    """

    parameters: int
    compiling: dict[str, float]

    def run(self) -> object:
        """One repeat, to its end: no work is left behind."""

    def outcome(self, result) -> dict:
        """What `run` gave, ready for JSON; not timed. `loss` (mean over the repeat) or `tokens` (shape written).

        Raises:
          RuntimeError: if it is not what was asked for.
        """

    def device_peak(self) -> int | None:
        """Bytes that an accelerator's allocator held at most; None on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One who competes. Its fields are the arguments of its spec; the class is read without importing what it runs.

    Attributes:
      families: class attribute: what it can be.
      packages: class attribute: whose versions are recorded.
      ours: class attribute: whether it runs in this Python, whatever `--python` says.
    """

    task: Task

    families: ClassVar[tuple[str, ...]] = ("decoder_only",)
    packages: ClassVar[tuple[str, ...]] = ()
    ours: ClassVar[bool] = False

    def problems(self) -> list[str]:
        """What of the task it cannot do, a sentence each."""
        task = self.task
        if task.family not in self.families:
            return [f"model.family={task.family!r}: it has {' and '.join(self.families)}"]
        if getattr(type(self), task.kind) is getattr(Peer, task.kind):
            return [f"it does not {task.kind} here (a decoder without a cache is no match)"]
        return []

    def check(self) -> None:
        """Refuses what it cannot do.

        Raises:
          UserError: naming the keys.
        """
        found = self.problems()
        if found:
            raise UserError("\n".join(found))

    def entry(self) -> Entry:
        """The model of the task, on the device."""
        return getattr(self, self.task.kind)()

    def train(self) -> Entry:
        """Updates of the task's batches."""
        raise NotImplementedError

    def decode(self) -> Entry:
        """Greedy answers to the task's prompts, with a cache."""
        raise NotImplementedError

    def differences(self) -> list[str]:
        """What is not the same as in our model, beside the number of parameters."""
        return []

    def versions(self) -> dict[str, str]:
        """Of the packages it runs with."""
        found = {"python": platform.python_version()}
        for package in self.packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:  # it was found in a folder
                continue
        return found

    def machine(self) -> dict | None:
        """What it ran on; asked of our own only."""
        return None


@dataclass(frozen=True, kw_only=True)
class FolderPeer(Peer):
    """A peer that is imported from a folder which the user has.

    Attributes:
      path: the folder.
      file: class attribute: the module's file in it.
    """

    path: str = ""

    file: ClassVar[str]

    def problems(self) -> list[str]:
        if not (Path(self.path).expanduser() / self.file).is_file():
            return [f"path={self.path!r}: give the folder that has {self.file}", *super().problems()]
        return super().problems()

    def load(self, file: str | None = None):
        """The module."""
        path = (Path(self.path).expanduser() / (file or self.file)).absolute()
        name = f"peer_{path.parent.name}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses ask for it
        spec.loader.exec_module(module)
        return module

    def versions(self) -> dict[str, str]:
        content = (Path(self.path).expanduser() / self.file).read_bytes()
        name = f"{type(self).__module__.rpartition('.')[2]}/{Path(self.file).name}"
        return {name: f"sha256 {hashlib.sha256(content).hexdigest()[:12]}", **super().versions()}


def shown(spec: str) -> str:
    """A peer's spec as tables call it: without the folder."""
    name, arguments = parse_spec(spec)
    return format_spec(name, **{key: value for key, value in arguments if key != "path"})


def told(found: Sequence[str], spec: str) -> list[str]:
    """Problems as the command line tells them."""
    return [f"--peer={spec}: {problem}" for problem in found]
