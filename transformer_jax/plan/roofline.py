"""The time that a step cannot go below on a machine whose peaks are known: a bound, not a measurement.

Three times follow from the vendors' peaks: that of the matrix products at the peak of the dtype, that of what goes in
and out of memory at its bandwidth, and that of what is sent over each mesh axis at the bandwidth of its links. The
first two overlap. So does what the axes data and fsdp send, parameters and gradients; what the others send lies between
a layer and the next one, and is waited for. Latencies, and whatever runs below its peak, are left out.
"""

from dataclasses import dataclass

from transformer_jax.parallel.mesh import AXES
from transformer_jax.plan.communication import OVERLAPPED, Sent
from transformer_jax.plan.labels import Sizes
from transformer_jax.plan.machines import Machine


@dataclass(frozen=True)
class Bound:
    """Seconds of one update.

    Attributes:
      compute, memory: of matrix products, and of memory traffic.
      network: of what is sent, by mesh axis.
      step: the bound, with what overlaps.
      least, most: if everything overlapped, and if no communication did.
      utilisation: model FLOPs at the bound, as a share of the peak.
    """

    compute: float
    memory: float
    network: dict[str, float]
    step: float
    least: float
    most: float
    utilisation: float


def bound(
    machine: Machine, sizes: Sizes, *, dtype: str, flops: float, model_flops: float, moved: float, sent: Sent
) -> Bound | None:
    """The bound of a mesh; None where nothing is claimed of a machine.

    Args:
      flops, model_flops: of all devices, with and without what is computed again.
      moved, sent: bytes of each device.
    """
    peak, kind = machine.peak(dtype), machine.kind
    if peak is None or kind.bandwidth is None:
        return None
    compute, memory = flops / machine.devices / peak, moved / kind.bandwidth
    network = {}
    for axis, kinds in sent.items():
        rate = machine.axis_bandwidth(sizes[axis], _stride(sizes, axis))
        network[axis] = sum(kinds.values()) / rate
    hidden = sum(seconds for axis, seconds in network.items() if axis in OVERLAPPED)
    waited = sum(network.values()) - hidden
    work = max(compute, memory)
    step = max(work, hidden) + waited
    least = max([compute, memory, *network.values()])
    utilisation = model_flops / (step * machine.devices * peak) if step else 0.0
    return Bound(compute, memory, network, step, least, work + hidden + waited, utilisation)


def _stride(sizes: Sizes, axis: str) -> int:
    stride = 1
    for inner in AXES[AXES.index(axis) + 1 :]:
        stride *= sizes[inner]
    return stride
