"""`count`: what a compiled program sends between devices, read from the text of its partitioned HLO.

The text says which groups of devices talk and how large the arrays are; how many bytes that puts on the wire depends
on the algorithm. Counted here is what each device sends (and receives) in the ring algorithms, which move the least
that is possible. With n devices in a group:

| kind | bytes sent per device |
|---|---|
| all-gather | (n - 1) / n of the result |
| reduce-scatter | (n - 1) / n of the operand |
| all-reduce | 2 (n - 1) / n of the operand: a reduce-scatter, and an all-gather of what came out |
| all-to-all | (n - 1) / n of the operand |
| collective-permute, collective-broadcast | the operand |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from transformer_jax.plan import hlo
from transformer_jax.plan.groups import groups

# Bytes sent per device, from the bytes of a device's operand and the number of devices in a group.
_SENT = {
    "all-reduce": lambda operand, n: 2 * (n - 1) / n * operand,
    "all-gather": lambda operand, n: (n - 1) * operand,
    "reduce-scatter": lambda operand, n: (n - 1) / n * operand,
    "all-to-all": lambda operand, n: (n - 1) / n * operand,
    "ragged-all-to-all": lambda operand, n: (n - 1) / n * operand,
    "collective-permute": lambda operand, n: operand,
    "collective-broadcast": lambda operand, n: operand,
}
KINDS = tuple(_SENT)


@dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
      axes: the mesh axes along which it moves data: those in which the members of a group differ.
      size: devices in a group; less than the product of `axes` where the compiler goes about it in stages.
      bytes_sent_per_device: each time that it runs.
      times: that it runs in one call of the program.
      where: for which operation of the model, as the compiler remembers it; may be empty.
    """

    kind: str
    axes: tuple[str, ...]
    size: int
    bytes_sent_per_device: float
    times: int
    where: str = ""

    @property
    def bytes_in_all(self) -> float:
        """That each device sends by it in one call of the program."""
        return self.bytes_sent_per_device * self.times


def count(hlo_text: str, mesh) -> list[Collective]:
    """Every collective operation of a compiled program, in no particular order.

    Args:
      hlo_text: `compiled.as_text()`.
      mesh: the `Mesh` that it was compiled for, or its axis sizes in order.

    Raises:
      ValueError: if the program is not for as many devices as the mesh has.
      NotImplementedError: if a collective is in a loop of which the text does not say how often it runs.
    """
    sizes = dict(getattr(mesh, "shape", mesh))
    module = hlo.parse(hlo_text)
    devices = int(np.prod(list(sizes.values())))
    if module.partitions != devices:
        raise ValueError(f"a program for {module.partitions} devices, and a mesh of {sizes}")
    return _Counter(module, sizes).entry


def by_axes(found: Iterable[Collective]) -> dict[tuple[str, ...], float]:
    """Bytes that each device sends in one call of the program, by mesh axes, most first."""
    return _summed(found, lambda collective: collective.axes)


def by_kind(found: Iterable[Collective]) -> dict[str, float]:
    """Bytes that each device sends in one call of the program, by kind, most first."""
    return _summed(found, lambda collective: collective.kind)


def total(found: Iterable[Collective]) -> float:
    """Bytes that each device sends in one call of the program."""
    return sum(collective.bytes_in_all for collective in found)


def _summed(found, key) -> dict:
    sums: dict = {}
    for collective in found:
        sums[key(collective)] = sums.get(key(collective), 0.0) + collective.bytes_in_all
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


class _Counter:
    """Goes through a module's computations, each once."""

    def __init__(self, module: hlo.Module, sizes: Mapping[str, int]):
        self._module, self._sizes = module, sizes
        self._known: dict[str, list[Collective]] = {}

    @cached_property
    def entry(self) -> list[Collective]:
        return self._of_computation(self._module.entry)

    def _of_computation(self, name: str) -> list[Collective]:
        if name not in self._known:
            computation = self._module.computations[name]
            self._known[name] = [
                found
                for instruction in computation.values()
                for found in self._of_instruction(instruction, computation)
            ]
        return self._known[name]

    def _of_instruction(self, instruction: hlo.Instruction, computation) -> list[Collective]:
        kind = instruction.opcode.removesuffix("-start")
        if kind in _SENT:
            return [] if _goes_on(instruction, computation) else self._own(kind, instruction, computation)
        inner = [self._of_computation(name) for name in instruction.called]
        if not any(inner):
            return []
        if instruction.opcode == "while":
            times = self._module.trip_count(instruction)
            if times is None:
                raise NotImplementedError(
                    f"{instruction.name}: how often this loop runs cannot be read from the program"
                )
            return [replace(found, times=found.times * times) for each in inner for found in each]
        if instruction.opcode == "conditional":
            return max(inner, key=total)
        found = [collective for each in inner for collective in each]
        if instruction.opcode == "fusion" and any(map(_is_reduce_scatter, instruction.called)):
            return [_scattered(collective) for collective in found]
        return found

    def _own(self, kind: str, instruction: hlo.Instruction, computation) -> list[Collective]:
        groups_GN = groups(instruction.attributes, self._module.partitions)
        size = 2 if "permute" in kind else groups_GN.shape[1]
        axes = self._axes(groups_GN)
        if not axes:  # groups of one: nothing is sent
            return []
        operand = sum(hlo.bytes_of(shape) for shape in instruction.operand_types(computation))
        if kind == "all-reduce":  # TPUs round float32 to bfloat16 before they send it
            operand = min(operand, hlo.bytes_of(instruction.type))
        return [Collective(kind, axes, size, _SENT[kind](operand, size), 1, instruction.op_name)]

    def _axes(self, groups_GN: np.ndarray) -> tuple[str, ...]:
        """The mesh axes in which the members of some group differ. Partitions are numbered as the mesh's devices."""
        along = np.unravel_index(groups_GN, tuple(self._sizes.values()))
        return tuple(axis for axis, at_GN in zip(self._sizes, along, strict=True) if (at_GN != at_GN[:, :1]).any())


def _goes_on(instruction: hlo.Instruction, computation: Mapping[str, hlo.Instruction]) -> bool:
    """Whether what is written as a collective only goes on with one that another fusion has started.

    TPUs hide a collective behind several fused computations, each of which repeats it.
    """
    started = any("AsyncCollectiveStart" in each.attributes for each in computation.values())
    return "chain_id=" in instruction.attributes and not started


def _is_reduce_scatter(name: str) -> bool:
    """Whether a computation is what TPUs have for a reduce-scatter: an all-reduce fused with taking one's own slice."""
    return name.startswith("all-reduce-scatter")


def _scattered(collective: Collective) -> Collective:
    if collective.kind != "all-reduce":
        return collective
    return replace(collective, kind="reduce-scatter", bytes_sent_per_device=collective.bytes_sent_per_device / 2)
