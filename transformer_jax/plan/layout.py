"""Where the state of a run lies: how much of each of its parts is on each device, for any mesh."""

import math
from dataclasses import dataclass, fields

import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from transformer_jax.parallel.mesh import AXES
from transformer_jax.plan.labels import Sizes
from transformer_jax.train.program import Program
from transformer_jax.train.step import Step


@dataclass(frozen=True)
class Leaf:
    """One array of the state.

    Attributes:
      axes: the mesh axes that each dimension is divided by.
      trained: whether there are gradients of it; of parameters only.
    """

    name: str
    shape: tuple[int, ...]
    itemsize: int
    axes: tuple[tuple[str, ...], ...]
    trained: bool = False

    @property
    def own(self) -> frozenset[str]:
        """All mesh axes that it is divided by."""
        return frozenset(axis for axes in self.axes for axis in axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def local(self, sizes: Sizes, without: frozenset[str] = frozenset()) -> int:
        """Entries on each device, of what is gathered over the axes `without`."""
        parts = [math.prod(sizes[axis] for axis in axes if axis not in without) for axes in self.axes]
        return math.prod(-(-size // part) for size, part in zip(self.shape, parts, strict=True))

    def fits(self, sizes: Sizes) -> bool:
        """Whether the mesh divides it evenly."""
        parts = [math.prod(sizes[axis] for axis in axes) for axes in self.axes]
        return all(size % part == 0 for size, part in zip(self.shape, parts, strict=True))


@dataclass(frozen=True)
class Layout:
    """Every array of a run's state: 'params', 'opt_state', 'ema' and what else a `TrainState` has, by field."""

    parts: dict[str, tuple[Leaf, ...]]

    @property
    def params(self) -> tuple[Leaf, ...]:
        return self.parts["params"]

    def fits(self, sizes: Sizes) -> bool:
        """Whether a mesh divides every parameter evenly."""
        return all(leaf.fits(sizes) for leaf in self.params)

    def local_bytes(self, sizes: Sizes) -> dict[str, int]:
        """Bytes on each device, by field."""
        return {name: sum(leaf.local(sizes) * leaf.itemsize for leaf in leaves) for name, leaves in self.parts.items()}


def layout(step: Step) -> Layout:
    """From the program's own shardings: what it says of a mesh of one device holds for all."""
    one = AbstractMesh((1,) * len(AXES), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    structs = Program(step.arch, step.recipe, one).state_structs
    trained = {jax.tree_util.keystr(path) for path, yes in jax.tree.leaves_with_path(step.trained_mask) if yes}
    parts = {}
    for field in fields(structs):
        leaves = jax.tree.leaves_with_path(getattr(structs, field.name))
        parts[field.name] = tuple(
            _leaf(path, struct, field.name == "params" and jax.tree_util.keystr(path) in trained)
            for path, struct in leaves
        )
    return Layout(parts)


def _leaf(path, struct, trained: bool) -> Leaf:
    spec: PartitionSpec = struct.sharding.spec
    axes = [(axis,) if isinstance(axis, str) else tuple(axis or ()) for axis in spec]
    axes += [()] * (len(struct.shape) - len(axes))
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return Leaf(name, struct.shape, struct.dtype.itemsize, tuple(axes), trained)
