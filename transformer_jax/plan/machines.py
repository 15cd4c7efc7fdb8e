"""Machines that need not be at hand: what their vendors say of them, and the texts that name them.

'8xH100', 'v5e:16x16', 'v5p:4x4x4', two slices as '2xv5e:16x16', and 'cpu:8' for fake devices, of which nothing is
claimed. All numbers are of one device as JAX sees it, in bytes and seconds.
"""

import math
import re
from dataclasses import dataclass, replace

from transformer_jax.errors import UserError, nearest

GIB = 2**30


@dataclass(frozen=True)
class Kind:
    """One kind of device; None where nothing is claimed.

    Attributes:
      peak: FLOP/s of dense matrix products by dtype. What XLA does with float32 by default: one bfloat16 pass on a
        TPU, TF32 on a GPU.
      memory: bytes that a device has.
      bandwidth: of its memory.
      link: one way, over one link of the torus (TPU), or into the switch of a host (GPU).
      network: one way, a device's share of what leaves its host (GPU) or slice (TPU).
      per_host: devices of a host.
      dimensions: of the torus; 0 where there is none.
      per_chip: devices of a chip; a topology counts chips.
      wraps: a dimension of the torus is a ring if it is a multiple of this many chips, else a line.
      most: chips of the largest slice.
    """

    name: str
    platform: str
    peak: tuple[tuple[str, float], ...] | None = None
    memory: float | None = None
    bandwidth: float | None = None
    link: float | None = None
    network: float | None = None
    per_host: int = 1
    dimensions: int = 0
    per_chip: int = 1
    wraps: int = 1
    most: int = 0


def _tpu(name, peak, gib, bandwidth, link, network, dimensions, wraps, most, per_host=4, per_chip=1) -> Kind:
    """Of a chip's numbers, those of each device on it."""
    flops = (("bfloat16", peak / per_chip), ("float32", peak / per_chip))
    memory, rates = gib * GIB / per_chip, (bandwidth / per_chip, link / per_chip, network / per_chip)
    return Kind(name, "tpu", flops, memory, *rates, per_host * per_chip, dimensions, per_chip, wraps, most)


def _gpu(name, bfloat16, float32, gib, bandwidth, link, network) -> Kind:
    flops = (("bfloat16", bfloat16), ("float32", float32))
    return Kind(name, "gpu", flops, gib * GIB, bandwidth, link, network, per_host=8)


# TPU: peak, memory and its bandwidth from cloud.google.com/tpu/docs/{v3,v4,v5e,v5p,v6e,tpu7x}. One-way bandwidth of a
# link, and of the network for one chip, from "How to Scale Your Model" (Austin et al. 2025,
# jax-ml.github.io/scaling-book/tpus, table "TPU specs"); v5e: 4 links x 2 x 45 GB/s, where Google says 400 GB/s.
# v3 and tpu7x show each chip as two devices, which share its links.
# GPU: NVIDIA's data sheets of A100 80GB SXM, H100 SXM, H200 SXM and DGX B200 (TF32 for float32; without sparsity,
# half of what the sheets say). NVLink one way is half of the sheet's total: 600, 900, 900 and 1800 GB/s. The network
# is that of a DGX: one port per GPU, 200 Gb/s (A100), 400 Gb/s (H100, H200, B200). Memory is what the driver shows.
KINDS = {
    kind.name: kind
    for kind in (
        _tpu("v3", 123e12, 32, 900e9, 100e9, 6.25e9, 2, 1, 1024, per_chip=2),
        _tpu("v4", 275e12, 32, 1200e9, 45e9, 6.25e9, 3, 4, 4096),
        _tpu("v5e", 197e12, 16, 819e9, 45e9, 3.125e9, 2, 16, 256),
        _tpu("v5p", 459e12, 95, 2765e9, 90e9, 6.25e9, 3, 4, 8960),
        _tpu("v6e", 918e12, 32, 1640e9, 90e9, 12.5e9, 2, 16, 256),
        _tpu("tpu7x", 2307e12, 192, 7380e9, 90e9, 12.5e9, 3, 4, 9216, per_chip=2),
        _gpu("A100", 312e12, 156e12, 80, 2039e9, 300e9, 25e9),
        _gpu("H100", 989e12, 494e12, 79.6, 3350e9, 450e9, 50e9),
        _gpu("H200", 989e12, 494e12, 140, 4800e9, 450e9, 50e9),
        _gpu("B200", 2250e12, 1125e12, 178, 8000e9, 900e9, 50e9),
        Kind("cpu", "cpu"),
    )
}
_EXAMPLES = "'8xH100', 'v5e:16x16', 'v5p:4x4x4', '2xv5e:16x16', 'cpu:8'"


@dataclass(frozen=True)
class Machine:
    """Devices of one kind.

    Attributes:
      text: as it was given.
      topology: chips of a slice along each dimension of the torus; () where there is none.
      slices: TPU slices, which the network joins.
    """

    text: str
    kind: Kind
    devices: int
    topology: tuple[int, ...] = ()
    slices: int = 1

    @property
    def platform(self) -> str:
        """'cpu', 'gpu' or 'tpu'."""
        return self.kind.platform

    @property
    def name(self) -> str:
        """As it is written in full."""
        if self.topology:
            shape = f"{self.kind.name}:{'x'.join(map(str, self.topology))}"
            return shape if self.slices == 1 else f"{self.slices}x{shape}"
        return f"cpu:{self.devices}" if self.platform == "cpu" else f"{self.devices}x{self.kind.name}"

    def times(self, number: int) -> "Machine":
        """So many of it: more hosts, or more slices."""
        return replace(self, text="", devices=number * self.devices, slices=number * self.slices)

    def peak(self, dtype: str) -> float | None:
        """FLOP/s of one device; None where nothing is claimed."""
        return None if self.kind.peak is None else dict(self.kind.peak)[dtype]

    def axis_bandwidth(self, size: int, stride: int) -> float | None:
        """Bytes per second that a device can send to its neighbours on a mesh axis; None where nothing is claimed.

        Args:
          size: of the axis.
          stride: devices between neighbours, the product of the axes behind it: the last axes lie closest.
        """
        kind = self.kind
        if kind.link is None:
            return None
        if kind.platform == "gpu":
            return kind.link if size * stride <= kind.per_host else kind.network
        per_slice = self.devices // self.slices
        if size * stride > per_slice:
            return kind.network
        # Whole rings are used both ways and all at once; a part of a ring is a line.
        rings, left = 0, size // kind.per_chip if stride == 1 and size > 1 else size
        for chips in sorted(self.topology):
            if chips > 1 and left % chips == 0 and chips % kind.wraps == 0:
                rings, left = rings + 1, left // chips
        return kind.link * max(1, 2 * rings)


def parse(text: str) -> Machine:
    """The machine that a text names.

    Raises:
      UserError: naming the text, the part of it that is wrong, and what is accepted.
    """
    match = re.fullmatch(r"(?:(?P<number>[-+.\d]*)x)?(?P<kind>[^:]*?)(?::(?P<size>.*))?", text.strip())
    name = match["kind"] if match else ""
    if match is None or not name:
        raise UserError(f"machine={text!r} cannot be read: give one like {_EXAMPLES}")
    kind = next((kind for known, kind in KINDS.items() if known.lower() == name.lower()), None)
    if kind is None:
        raise UserError(f"machine={text!r}: unknown kind {name!r}{nearest(name, KINDS)}; have {', '.join(KINDS)}")
    number = 1 if match["number"] is None else _whole(text, match["number"], "number")
    return {"cpu": _cpu, "gpu": _hosts, "tpu": _slices}[kind.platform](text, kind, number, match["size"])


def _cpu(text: str, kind: Kind, number: int, size: str | None) -> Machine:
    return Machine(text, kind, number if size is None else number * _whole(text, size, "number of devices"))


def _hosts(text: str, kind: Kind, number: int, size: str | None) -> Machine:
    if size is not None:
        raise UserError(f"machine={text!r}: {kind.name} has no topology {size!r}: give the number, '8x{kind.name}'")
    if number > kind.per_host and number % kind.per_host:
        raise UserError(
            f"machine={text!r}: {number} {kind.name} do not fill hosts of {kind.per_host}: give up to "
            f"{kind.per_host}, or a multiple of it"
        )
    return Machine(text, kind, number)


def _slices(text: str, kind: Kind, number: int, size: str | None) -> Machine:
    shape = "x".join("4" * kind.dimensions)
    if not size:
        raise UserError(
            f"machine={text!r}: {kind.name} needs a topology of {kind.dimensions} numbers, as in '{kind.name}:{shape}'"
        )
    topology = tuple(_whole(text, part, "topology") for part in size.split("x"))
    if len(topology) != kind.dimensions:
        raise UserError(
            f"machine={text!r}: the topology {size!r} has {len(topology)} dimensions, and {kind.name} is a torus of "
            f"{kind.dimensions}: give one like '{kind.name}:{shape}'"
        )
    chips = math.prod(topology)
    if chips > kind.most:
        raise UserError(f"machine={text!r}: a slice of {kind.name} has at most {kind.most} chips, not {chips}")
    odd = [n for n in topology if n & (n - 1) and n % 4]
    if odd:
        raise UserError(f"machine={text!r}: no slice is {odd[0]} chips long: give 1, 2 or a multiple of 4")
    return Machine(text, kind, number * chips * kind.per_chip, topology, number)


def _whole(text: str, part: str, what: str) -> int:
    if not (part.isascii() and part.isdecimal() and 0 < int(part) <= 10**6):
        raise UserError(
            f"machine={text!r}: the {what} {part!r} is no whole number of at least 1; give one like {_EXAMPLES}"
        )
    return int(part)
