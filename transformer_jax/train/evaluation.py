"""Loss, bits per byte, accuracy and exact match, from sums that add up exactly over batches."""

import math
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from transformer_jax.batch import Batch
from transformer_jax.data import Data
from transformer_jax.model.arch import Arch
from transformer_jax.model.position import positions
from transformer_jax.objective import Loss
from transformer_jax.parallel.share import Share
from transformer_jax.train.program import Program


def evaluate_loss(program: Program, params, batches: Iterable[Batch], heads=None) -> dict[str, float]:
    """`evaluate_members` of a program of one run."""
    return evaluate_members(program, params, batches, heads)[0]


def evaluate_members(
    program: Program, params, batches: Iterable[Batch], heads=None, share: Share | None = None
) -> list[dict[str, float]]:
    """`loss` in nats per target, `perplexity`, `accuracy`, `bits_per_byte` of the original text, `exact_match`.

    Of every member of the program, in the order of slots; all read the same batches. `exact_match` is the share of
    examples whose every target is the most likely token while the model is fed the right ones, which is the share
    that greedy decoding gets exactly right (`objective.exact_matches`).

    Args:
      share: which rows of each global batch are in `batches`; None if all are.
    """
    sums = None
    for batch in batches:
        # Summed on the host in float64: float32 sums over a long split would lose digits.
        part = jax.tree.map(
            lambda x: np.float64(jax.device_get(x)),
            program.evaluate(params, place(program, batch, share=share), heads),
        )
        sums = part if sums is None else jax.tree.map(np.add, sums, part)
    return [summarise(program.of_member(sums, slot)) for slot in range(program.members or 1)]


def summarise(sums: Loss) -> dict[str, float]:
    """Means from sums."""
    tokens = float(max(sums.tokens, 1.0))
    values = {"loss": float(sums.nats) / tokens, "accuracy": float(sums.correct) / tokens}
    values["perplexity"] = math.exp(min(values["loss"], 700.0))
    if sums.bytes > 0:
        values["bits_per_byte"] = float(sums.nats) / math.log(2) / float(sums.bytes)
    if sums.examples is not None:
        values["exact_match"] = float(sums.exact) / float(max(sums.examples, 1.0))
    return values


def position_limit(arch: Arch, longest: int) -> str:
    """Why the model is undefined on sequences of `longest` tokens, in either stack; empty if it is not."""
    limit = last_position(arch)
    if limit is None or longest <= limit:
        return ""
    return f"model.position={arch.parts.position!r} is undefined from position {limit} on"


def last_position(arch: Arch) -> int | None:
    """How many positions the model is defined on, in each stack; None if that has no end."""
    causal = arch.causal(arch.stacks[-1])
    schemes = [positions.build(spec, arch=arch, causal=causal) for spec in arch.parts.distinct("position")]
    return min((scheme.limit for scheme in schemes if scheme.limit is not None), default=None)


def evaluate_tests(
    program: Program,
    params,
    tests: Mapping[str, Data],
    names: Iterable[str],
    heads=None,
    share: Share | None = None,
    each: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
) -> tuple[list[dict[str, float | None]], dict[str, str]]:
    """The metrics of each set of `data.tests`, as `set/metric`, and why those that are None do not apply.

    Args:
      names: of the metrics, for a set that the model is undefined on.
      share: of the rows, as `evaluate_members`.
      each: what the batches go through.

    Returns:
      the metrics of each member, and by set the reason why nothing was computed.
    """
    values: list[dict[str, float | None]] = [{} for _ in range(program.members or 1)]
    reasons: dict[str, str] = {}
    for test, data in tests.items():
        needed = data.rows("test").positions
        reason = position_limit(program.arch, needed)
        if reason:
            reasons[test] = f"{reason}, and {test} needs {needed}"
            found = [dict.fromkeys(names)] * len(values)
        else:
            batches = data.eval_batches("test", rows=None if share is None else share.index_R)
            found = evaluate_members(program, params, each(batches), heads, share)
        for own, new in zip(values, found, strict=True):
            own |= {f"{test}/{name}": value for name, value in new.items()}
    return values, reasons


def place(program: Program, batch: Batch, leading: int = 0, share: Share | None = None) -> Batch:
    """The global batch on the mesh.

    Args:
      leading: unsharded axes before [B, L].
      share: which of the B rows `batch` has, at least those that this process's devices need; None if it has all.
    """
    sharding = program.batch_sharding(leading)
    if sharding.is_fully_addressable:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)

    def one(x):
        x = np.asarray(x)
        rows = x.shape[leading] if share is None else share.size

        def part(index):
            own = index[leading] if share is None else share.slice(index[leading])
            return x[(*index[:leading], own, *index[leading + 1 :])]

        return jax.make_array_from_callback((*x.shape[:leading], rows, *x.shape[leading + 1 :]), sharding, part)

    return jax.tree.map(one, batch)


def place_members(program: Program, own: Mapping[int, Batch], leading: int = 0, share: Share | None = None) -> Batch:
    """The members' batches on the mesh, by slot. A slot without one, whose run has ended, gets another's."""
    if program.members is None:
        return place(program, own[0], leading, share)
    spare = next(iter(own.values()))
    rows = jax.tree.map(lambda *xs: np.stack(xs), *[own.get(slot, spare) for slot in range(program.members)])
    sharding = program.batch_sharding(leading, per_member=True)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
