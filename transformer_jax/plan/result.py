"""`Plan`: what was found of a config on a machine."""

import dataclasses
from dataclasses import dataclass

from transformer_jax.plan.communication import Sent
from transformer_jax.plan.machines import Machine
from transformer_jax.plan.memory import Held
from transformer_jax.plan.roofline import Bound


@dataclass(frozen=True)
class MeshPlan:
    """One mesh.

    Attributes:
      mesh: sizes of its axes.
      held: bytes of each device.
      sent: bytes that each device sends in one update, by axis and kind.
      bound: of the step time; None where nothing is claimed of the machine.
      fits: whether it fits into memory, less the reserve; None where that is not known.
      narrow: whether fsdp leaves a device of a TPU too few columns of a parameter, for which its compiler pads them and
        sends more than is counted.
    """

    mesh: dict[str, int]
    held: Held
    sent: Sent
    bound: Bound | None
    fits: bool | None
    narrow: bool = False

    @property
    def rank(self) -> tuple:
        """Sorts the best first, narrow ones last: by time, by what must overlap for it, by what is sent."""
        sent = sum(sum(kinds.values()) for kinds in self.sent.values())
        times = (self.bound.step, self.bound.most) if self.bound else (0.0, 0.0)
        return (self.narrow, *times, sent, self.held.total)

    def as_dict(self) -> dict:
        return {
            "mesh": self.mesh,
            "memory": {**self.held.parts, "total": self.held.total, "moved": self.held.moved},
            "communication": self.sent,
            "time": None if self.bound is None else dataclasses.asdict(self.bound),
            "fits": self.fits,
            "narrow": self.narrow,
        }


@dataclass(frozen=True)
class Plan:
    """What `plan` found. Sizes are in bytes per device, times in seconds per update.

    Attributes:
      flops: of one update, all devices together: `model`, `executed` (with what is computed again), `per_token`.
      own: the config's own mesh; None where it is refused, for the reasons in `refused`.
      best: the best meshes that fit.
      counts: of meshes: `of_devices`, `accepted`, `fitting`.
      budget: bytes of a device that may be used; None where its memory is not known.
      notes: what was taken otherwise than the config says it.
    """

    machine: Machine
    vocab: int
    parameters: int
    trained: int
    tokens: int
    flops: dict[str, float]
    own: MeshPlan | None
    refused: tuple[str, ...]
    best: tuple[MeshPlan, ...]
    counts: dict[str, int]
    reserve: float
    budget: float | None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict:
        """Ready for JSON."""
        kind = self.machine.kind
        return {
            "machine": {
                "text": self.machine.text,
                "kind": kind.name,
                "devices": self.machine.devices,
                "peak_flops": dict(kind.peak) if kind.peak else None,
                "memory": kind.memory,
                "memory_bandwidth": kind.bandwidth,
                "link_bandwidth": kind.link,
                "network_bandwidth": kind.network,
            },
            "vocab": self.vocab,
            "parameters": self.parameters,
            "trained_parameters": self.trained,
            "tokens_per_step": self.tokens,
            "flops": self.flops,
            "reserve": self.reserve,
            "budget": self.budget,
            "own": None if self.own is None else self.own.as_dict(),
            "refused": list(self.refused),
            "best": [each.as_dict() for each in self.best],
            "meshes": self.counts,
            "notes": list(self.notes),
        }
