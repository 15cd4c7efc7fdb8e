"""What a step holds in the memory of each device, by part, and what it moves in and out of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from transformer_jax.plan.labels import LAYERS, Labelled, Sizes
from transformer_jax.plan.layout import Layout
from transformer_jax.plan.traced import Traced, is_weights

FLOAT32 = 4
# Parts that lie there during all of a step, parts that come and go, and those of which only the largest counts.
LASTING = ("parameters", "optimizer", "ema", "counters", "batch")
PASSING = ("gradients", "cast copies", "activations")
EITHER = ("logits", "working")


@dataclass(frozen=True)
class Held:
    """Bytes on each device.

    Attributes:
      parts: by name. Of `logits` and `working` (what one layer needs beside) only the larger counts for the total.
      moved: read from and written to memory in one update.
    """

    parts: dict[str, int]
    moved: float

    @property
    def total(self) -> int:
        return sum(self.parts[name] for name in (*LASTING, *PASSING)) + max(self.parts[name] for name in EITHER)


@dataclass(frozen=True)
class Needs:
    """What memory follows from, for any mesh.

    Attributes:
      whole: traced without recomputation; equal to `traced` if there is none.
      batches: structs of the batches that one dispatch takes.
      itemsize: bytes of a number of the computation.
      micro: micro-batches of an update.
      fused: whether a fused kernel may compute attention where no axis divides the length.
    """

    layout: Layout
    traced: Traced
    whole: Traced
    batches: tuple[Labelled, ...]
    itemsize: int
    micro: int
    fused: bool

    @property
    def again(self) -> bool:
        """Whether the backward pass computes layers again."""
        return self.traced is not self.whole


def held(needs: Needs, sizes: Sizes) -> Held:
    """What a mesh leaves on each device."""
    layout, fused = needs.layout, needs.fused and sizes["context"] == 1
    state = layout.local_bytes(sizes)
    kept = [each for each in needs.traced.kept if not (fused and is_weights(each))]
    loops = dict.fromkeys(needs.whole.loops, ())
    for each, loop in zip(needs.whole.kept, needs.whole.loops, strict=True):
        loops[loop] += () if fused and is_weights(each) else (each,)
    whole = [each for several in loops.values() for each in several]
    gradients = sum(leaf.local(sizes) * FLOAT32 for leaf in layout.params if leaf.trained)
    logits = _sum((each for each in kept if _is_logits(each)), sizes)
    # The gradient of the logits lies beside them.
    logits += max((each.local(sizes) * FLOAT32 for each in kept if _is_logits(each)), default=0)
    parts = {
        "parameters": state["params"],
        "optimizer": state["opt_state"],
        "ema": state.get("ema", 0),
        "counters": sum(size for name, size in state.items() if name not in ("params", "opt_state", "ema")),
        "batch": _sum(needs.batches, sizes),
        "gradients": gradients * (2 if needs.micro > 1 else 1),
        "cast copies": _sum((each for each in kept if not each.of_batch), sizes),
        "activations": _sum((each for each in kept if each.of_batch and not _is_logits(each)), sizes),
        "logits": logits,
        "working": _working(needs, loops.values(), sizes),
    }
    return Held(parts, _moved(needs, whole, state, parts, sizes))


def _working(needs: Needs, loops: Iterable[tuple[Labelled, ...]], sizes: Sizes) -> int:
    """Of one layer, of the stack where that is most: what is computed again, and the gradient of its largest array.

    Beside it its weights and those of the next layer, gathered. Tables lie outside of the layers: gathered, and their
    gradient before it is scattered.
    """
    most = 0
    for kept in loops:
        one = [each.local_bytes(sizes) // _depth(each) for each in kept if each.of_batch and each.has(LAYERS)]
        most = max(most, (sum(one) if needs.again else 0) + 2 * max(one, default=0))
    weights, tables = dict.fromkeys(("encoder", "decoder"), 0), 0
    for leaf in needs.layout.params:
        if "fsdp" in leaf.own and sizes["fsdp"] > 1:
            bytes_of = leaf.local(sizes, frozenset(["fsdp"])) * needs.itemsize
            stack, inside = (*leaf.name.split("/"), "")[:2]
            if inside == LAYERS:
                weights[stack] += bytes_of // leaf.shape[0]
            else:
                tables += 2 * bytes_of
    return most + 2 * max(weights.values()) + tables


def _moved(needs: Needs, whole: list[Labelled], state: dict, parts: dict, sizes: Sizes) -> float:
    """Weights are read once in each pass, the state once read and once written, activations written and read."""
    passes = 3 if needs.again else 2
    weights = sum(leaf.local(sizes, frozenset(["fsdp"])) for leaf in needs.layout.params) * needs.itemsize
    activations = _sum((each for each in whole if each.of_batch and not _is_logits(each)), sizes)
    per_micro = passes * (weights + activations) + 2 * parts["logits"]
    return float(needs.micro * per_micro + 2 * sum(state.values()) + 2 * parts["gradients"])


def _is_logits(each: Labelled) -> bool:
    return each.of_batch and each.has("vocab") > 0


def _depth(each: Labelled) -> int:
    return next(size for dim in each.dims for label, size in dim if label == LAYERS)


def _sum(arrays: Iterable[Labelled], sizes: Sizes) -> int:
    return sum(each.local_bytes(sizes) for each in arrays)
