"""All meshes that a config accepts on a machine, those that fit first, by the bound of their step time."""

from collections.abc import Iterator

from transformer_jax.parallel.mesh import AXES
from transformer_jax.plan.labels import Sizes

SEARCHED = ("data", "fsdp", "tensor", "context", "expert")


def meshes(devices: int, *, experts: bool) -> Iterator[dict[str, int]]:
    """Every mesh of so many devices; without an expert axis where there are no experts."""
    axes = SEARCHED if experts else SEARCHED[:-1]
    for sizes in _products(devices, len(axes)):
        yield dict.fromkeys(AXES, 1) | dict(zip(axes, sizes, strict=True))


def _products(number: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (number,)
        return
    for first in (n for n in range(1, number + 1) if number % n == 0):
        yield from ((first, *rest) for rest in _products(number // first, parts - 1))


def told(sizes: Sizes) -> str:
    """'fsdp 32, tensor 8': the axes that divide something."""
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items() if size > 1) or "one device"
