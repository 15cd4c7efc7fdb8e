"""`groups`: which devices a collective operation works among, in the notations that XLA prints."""

import math
import re

import numpy as np

_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_LISTED = re.compile(r"\{(\{[\d, ]*\}(?:,\s*\{[\d, ]*\})*)?\}")
_MESH = re.compile(r"mesh\[([^\]]*)\](?:, device_ids=\((?:\[([\d,]+)\]T\(([\d,]+)\)|([\d,]+))\))? \{([^}]*)\}")


def groups(attributes: str, partitions: int) -> np.ndarray:
    """The groups [G, N] of devices among which an instruction communicates; pairs [G, 2] of sender and receiver.

    Devices are numbered in the order of the mesh's. Known are lists, `{{0,1},{2,3}}` or `{}` for all devices;
    transposed counts, `[4,2]<=[2,4]T(1,0)`; and axes of a mesh of the compiler's own, `mesh['a'=2,'b'=4] {'a'}`.

    Raises:
      NotImplementedError: for another notation.
    """
    found = re.search(r"(?:source_target_pairs|replica_groups)=(.*)", attributes)
    text = found[1] if found else "{}"
    for pattern, read in ((_IOTA, _counted), (_LISTED, _listed), (_MESH, _of_mesh)):
        match = pattern.match(text)
        if match:
            members = read(match)
            return members if members.size else np.arange(partitions)[None]
    raise NotImplementedError(f"groups of devices given as {text[:80]!r}")


def _counted(match: re.Match) -> np.ndarray:
    shape, dims, order = (_numbers(part) if part else None for part in match.groups())
    return np.arange(math.prod(dims)).reshape(dims).transpose(order).reshape(shape)


def _listed(match: re.Match) -> np.ndarray:
    return np.array([_numbers(row) for row in re.findall(r"\{([\d, ]+)\}", match[0])], dtype=int)


def _of_mesh(match: re.Match) -> np.ndarray:
    """Devices at the same place along all axes but those in braces; `'a':(2)4` is the middle of a = 2 x 4 x k."""
    axes, dims, order, listed, among = match.groups()
    sizes = {name.strip("'"): int(size) for name, size in re.findall(r"([^,=]+)=(\d+)", axes)}
    count = math.prod(sizes.values())
    devices = np.array(_numbers(listed)) if listed else np.arange(count)
    if dims:
        devices = devices.reshape(_numbers(dims)).transpose(_numbers(order)).ravel()
    places = dict(zip(sizes, np.unravel_index(np.arange(count), tuple(sizes.values())), strict=True))
    size = 1
    for name, before, part in re.findall(r"([^,:]+)(?::\((\d+)\)(\d+))?", among):
        name, part = name.strip(" '"), int(part) if part else sizes[name.strip(" '")]
        behind = sizes[name] // (int(before or 1) * part)
        places[name] = places[name] - places[name] // behind % part * behind
        size *= part
    order = np.lexsort(tuple(places.values()))
    return devices[order].reshape(-1, size)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]
