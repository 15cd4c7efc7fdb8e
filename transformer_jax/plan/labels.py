"""`Labelled`: an array's shape with logical axis names, which say how large a part of it lies on each device."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformer_jax.parallel.rules import RULES

BATCH, LENGTH, WIDTH, LAYERS = "act_batch", "act_length", "width", "layers"

# A dimension is a product of factors, slowest first, each with the logical name that it lies by, or None.
Factor = tuple[str | None, int]
Dim = tuple[Factor, ...]
Sizes = Mapping[str, int]  # of the mesh axes


@dataclass(frozen=True)
class Labelled:
    """An array of a traced program.

    Attributes:
      itemsize: bytes of an entry.
      of_batch, of_params: whether it hangs on the batch, and on parameters.
    """

    dims: tuple[Dim, ...]
    itemsize: int
    of_batch: bool = False
    of_params: bool = False

    @property
    def size(self) -> int:
        return math.prod(size for dim in self.dims for _, size in dim)

    def axes(self, sizes: Sizes) -> tuple[tuple[str, ...], ...]:
        """The mesh axes that each dimension is divided by: a mesh axis divides the first one that asks for it."""
        return tuple(tuple(axis for axes, _ in factors for axis in axes) for factors in self._divided(sizes))

    def local(self, sizes: Sizes, without: Iterable[str] = ()) -> int:
        """Entries on each device.

        Args:
          without: mesh axes over which it has been gathered.
        """
        kept = {axis: size for axis, size in sizes.items() if axis not in set(without)}
        divided = (factor for factors in self._divided(kept) for factor in factors)
        return math.prod(-(-size // math.prod(kept[axis] for axis in axes)) for axes, size in divided)

    def local_bytes(self, sizes: Sizes, without: Iterable[str] = ()) -> int:
        """Bytes on each device."""
        return self.local(sizes, without) * self.itemsize

    def has(self, label: str) -> int:
        """In how many dimensions it has the label."""
        return sum(any(name == label for name, _ in dim) for dim in self.dims)

    def _divided(self, sizes: Sizes) -> list[list[tuple[tuple[str, ...], int]]]:
        used, found = set(), []
        for dim in self.dims:
            factors = []
            for label, size in dim:
                axes = tuple(axis for axis in axes_of(label) if sizes.get(axis, 1) > 1 and axis not in used)
                used |= set(axes)
                factors.append((axes, size))
            found.append(factors)
        return found


def axes_of(label: str | None) -> tuple[str, ...]:
    """The mesh axes that a logical name stands for."""
    axes = RULES.get(label) if label else None
    return (axes,) if isinstance(axes, str) else tuple(axes or ())


def plain(aval, *, of_batch: bool = False, of_params: bool = False) -> Labelled:
    """An array without labels."""
    dims = tuple(((None, int(size)),) for size in getattr(aval, "shape", ()))
    return Labelled(dims, itemsize(aval), of_batch, of_params)


def named(aval, names: Sequence[str | None], *, of_batch: bool = False, of_params: bool = False) -> Labelled:
    """An array with a logical name, or None, for each dimension."""
    names = (*names, *(None,) * (len(aval.shape) - len(names)))
    dims = tuple(((name, int(size)),) for name, size in zip(names, aval.shape, strict=True))
    return Labelled(dims, itemsize(aval), of_batch, of_params)


def itemsize(aval) -> int:
    """Bytes of an entry; random keys count as two words."""
    return getattr(getattr(aval, "dtype", None), "itemsize", 8) or 8


def is_labelled(dim: Dim) -> bool:
    return any(label for label, _ in dim)


def regrouped(dims: Sequence[Dim], shape: Sequence[int]) -> tuple[Dim, ...] | None:
    """The dimensions of a reshaped array; None if they do not line up. The slow part of a split keeps the label."""
    factors = [factor for dim in dims for factor in dim if factor[1] != 1]
    found = []
    for size in shape:
        dim, left = [], size
        while left > 1 and factors:
            label, have = factors.pop(0)
            if left % have == 0:
                dim.append((label, have))
                left //= have
            elif have % left == 0:
                dim.append((label, left))
                factors.insert(0, (None, have // left))
                left = 1
            else:
                return None
        if left > 1:
            return None
        found.append(tuple(dim) or ((None, size),))
    return tuple(found)
