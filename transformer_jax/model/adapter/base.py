"""The interface of an adapter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from transformer_jax.registry import Registry

adapters = Registry("adapter", "transformer_jax.model.adapter")

Axes = tuple[str | None, ...]


@dataclass(frozen=True)
class Factor:
    """A parameter that an adapter adds beside another: as `Part.weight` takes it."""

    shape: tuple[int, ...]
    axes: Axes
    init: Callable


class Adapter:
    """Changes the weights that the parts of blocks are handed. A subclass is a frozen dataclass.

    Attributes:
      suffixes: what the names of its own parameters end in, behind the name of the one that they stand beside.
      cost, cached, unshardable: as those of a `Part`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    cost: ClassVar[str] = ""
    cached: ClassVar[bool] = True
    unshardable: ClassVar[Mapping[str, str]] = {}

    def factors(self, name: str, shape: tuple[int, ...], axes: Axes) -> dict[str, Factor]:
        """By suffix, what it adds beside a parameter of one layer; empty for those that it leaves alone.

        Args:
          name: the path without the slots of patterns: 'decoder/layers/attention/query'.
        """
        return {}

    def weight(self, value, factors: Mapping, axes: Axes):
        """What a part is handed in place of `value`, a parameter with factors. Leading axes are not taken."""
        raise NotImplementedError

    def flops(self, shape: tuple[int, ...]) -> float:
        """FLOPs of the forward pass of `weight`, which is computed once for a micro-batch and layer."""
        return 0.0

    def problems(self, parameters: Mapping[str, tuple[tuple[int, ...], Axes]]) -> list[str]:
        """Why it cannot be used, a sentence each.

        Args:
          parameters: shape and axes in one layer of every parameter in the blocks, by name.
        """
        return []


def matches(name: str, globs: str) -> bool:
    """Whether a parameter's name matches one of the patterns, which are separated by commas; `*` takes in any `/`."""
    return any(fnmatchcase(name, glob.strip()) for glob in globs.split(","))


def of_adapter(name: str) -> bool:
    """Whether a parameter was added by an adapter, by the last part of its name."""
    return name.endswith(tuple(suffix for each in adapters.names() for suffix in adapters.lookup(each).suffixes))
