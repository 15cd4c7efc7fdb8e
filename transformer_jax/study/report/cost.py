"""What a variant takes: parameters, computation, speed and memory, as its runs recorded them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from transformer_jax.study.store import FINISHED, Run


@dataclass(frozen=True)
class Cost:
    """What a variant takes, as the median over its finished runs; None where no run says so.

    Attributes:
      parameters: how many it trains.
      flops_per_token: of training.
      tokens_per_second: of the whole compiled program: of all the runs that it trained at once.
      memory_bytes: of the compiled step per device, for all the runs that it trained at once.
      members: how many runs that were.
    """

    parameters: float | None = None
    flops_per_token: float | None = None
    tokens_per_second: float | None = None
    memory_bytes: float | None = None
    members: float | None = None


def cost_of(runs: Sequence[Run]) -> Cost:
    """What the finished runs of one variant took."""
    results = [run.result for run in runs if run.status == FINISHED]
    speeds = [
        result["tokens_per_second"] * (result.get("members") or 1)
        for result in results
        if result.get("tokens_per_second") is not None
    ]

    def typical(key: str) -> float | None:
        found = [result[key] for result in results if result.get(key) is not None]
        return median(found) if found else None

    return Cost(
        typical("parameters"),
        typical("flops_per_token"),
        median(speeds) if speeds else None,
        typical("memory_bytes"),
        typical("members"),
    )
