"""What would make a config fit: less memory for the same update, or more of the same devices."""

from bisect import bisect_left

from transformer_jax import config as config_lib
from transformer_jax.plan.machines import Machine
from transformer_jax.plan.planning import Planner

_TIMES = (2, 4, 8, 16, 32)


def remedies(config, machine: Machine, vocab: int, reserve: float) -> str:
    """One or several changes after which a mesh fits, those that cost least first."""

    def fits(changes: dict[str, object], machine: Machine = machine) -> bool:
        return _fits(config, changes, machine, vocab, reserve)

    remat = {} if config.model.remat == "full" else {"model.remat": "full"}
    if remat and fits(remat):
        return f"with {_told(remat)} it would fit"
    for dtype in ({}, {"model.dtype": "bfloat16"}):
        smaller = [{**remat, **dtype, "optim.accumulate": parts} for parts in _parts(config)]
        if smaller and fits(smaller[-1]):  # the least that a micro-batch can be
            return f"with {_told(smaller[bisect_left(smaller, True, key=fits)])} it would fit"
        if config.model.dtype == "bfloat16":
            break
    for times in _TIMES:
        many = machine.times(times)
        changes = {**remat, "model.dtype": "bfloat16", **_micro(config, config.data.batch_size // many.devices)}
        if fits(changes, many):
            return f"on {many.devices} devices, with {_told(changes)}, it would fit"
    return f"nor does it fit on {_TIMES[-1]} times as many, whatever is computed again: make the model smaller"


def _parts(config) -> list[int]:
    """Numbers of micro-batches, each twice the one before."""
    found, parts = [], 2 * config.optim.accumulate
    while config.data.batch_size % parts == 0:
        found.append(parts)
        parts *= 2
    return found


def _micro(config, parts: int) -> dict[str, object]:
    """As many micro-batches as can be."""
    rows = config.data.batch_size
    return {"optim.accumulate": next(n for n in range(max(1, min(parts, rows)), 0, -1) if rows % n == 0)}


def _fits(config, changes: dict[str, object], machine: Machine, vocab: int, reserve: float) -> bool:
    changed = config_lib.from_dict(config_lib.to_dict(config))
    for key, value in changes.items():
        config_lib.override(changed, key, value)
    planner = Planner(changed, machine.platform, vocab, reserve)
    return any(planner.on(machine, sizes).fits for sizes in planner.accepted(machine))


def _told(changes: dict[str, object]) -> str:
    return " and ".join(f"{key}={value}" for key, value in changes.items())
