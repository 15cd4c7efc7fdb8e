"""As much of the text form of compiled HLO as it takes to find collectives: computations, types, loops."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAMED = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_OPERAND = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=? ]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|\w+_computation)=%?([\w.\-]+)")
_CALLED_LIST = re.compile(r"\b(?:branch|called)_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'known_trip_count"?[:=]\s*\{"?n"?[:=]\s*"?(\d+)')


@dataclass(frozen=True)
class Instruction:
    """`%name = type opcode(operands), attributes`."""

    name: str
    type: str
    opcode: str
    operands: str
    attributes: str

    @property
    def called(self) -> list[str]:
        """The computations that it runs."""
        listed = [name for group in _CALLED_LIST.findall(self.attributes) for name in _OPERAND.findall(group)]
        return _CALLED.findall(self.attributes) + listed

    @property
    def op_name(self) -> str:
        """What it was in the program that was traced."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    def operand_types(self, computation: Mapping[str, "Instruction"]) -> list[str]:
        """Of each operand; some printers write types beside the names, others names alone."""
        if _ARRAY.search(self.operands):
            return [self.operands]
        return [computation[name].type for name in _OPERAND.findall(self.operands)]


@dataclass(frozen=True)
class Module:
    """Computations by name, each a dict of instructions by name."""

    computations: dict[str, dict[str, Instruction]]
    entry: str
    partitions: int

    def trip_count(self, loop: Instruction) -> int | None:
        """How often a `while` runs: as the compiler found it, else from its condition; None if neither says."""
        known = _TRIPS.search(loop.attributes)
        if known:
            return int(known[1])
        condition = re.search(r"condition=%?([\w.\-]+)", loop.attributes)[1]
        inside = list(self._within(condition))
        limits = [int(each.operands) for each in inside if each.opcode == "constant" and each.operands.isdigit()]
        compared = [each for each in inside if each.opcode == "compare" and "direction=LT" in each.attributes]
        return limits[0] if len(limits) == len(compared) == 1 else None  # JAX's scans count from 0

    def _within(self, name: str) -> Iterator[Instruction]:
        for instruction in self.computations[name].values():
            yield instruction
            for called in instruction.called:
                yield from self._within(called)


def parse(text: str) -> Module:
    """The computations of `compiled.as_text()`.

    Raises:
      ValueError: if there is no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None:
            instruction = _instruction(line)
            if instruction is not None:
                current[instruction.name] = instruction
    if entry is None:
        raise ValueError("no HLO: there is no ENTRY computation")
    partitions = re.search(r"\bnum_partitions=(\d+)", text)
    return Module(computations, entry, int(partitions[1]) if partitions else 1)


def bytes_of(shape: str) -> float:
    """Of all arrays of a type: `(bf16[8,128]{1,0:T(8,128)(2,1)}, f32[])` has 2052."""
    return sum(_bits(kind) * _elements(sizes) / 8 for kind, sizes in _ARRAY.findall(shape))


def _instruction(line: str) -> Instruction | None:
    named = _NAMED.match(line)
    if named is None:
        return None
    rest = line[named.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    opcode = _OPCODE.match(rest, end)
    if opcode is None:
        return None
    close = _closing(rest, opcode.end() - 1)
    return Instruction(named[1], rest[:end], opcode[1], rest[opcode.end() : close], rest[close + 1 :])


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text)


def _bits(kind: str) -> int:
    digits = re.search(r"\d+", kind)
    return 8 if kind == "pred" else int(digits[0]) if digits else 0  # tokens have no size


def _elements(sizes: str) -> int:
    return math.prod(int(size.strip("<=? ")) for size in sizes.split(",") if size.strip())
