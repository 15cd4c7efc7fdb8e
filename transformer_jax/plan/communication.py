"""What a step sends between devices, in bytes per device and mesh axis, by the formulas of rings.

Over an axis of n devices a device sends (n - 1) / n of the whole array for an all-gather or a reduce-scatter, twice
that for an all-reduce, and (n - 1) / n of its own part for an all-to-all. docs/planning.md says what is sent when.
"""

from collections import defaultdict
from dataclasses import dataclass

from transformer_jax.parallel.mesh import AXES
from transformer_jax.plan.flow import Lookup, Product
from transformer_jax.plan.labels import WIDTH, Labelled, Sizes
from transformer_jax.plan.layout import Layout
from transformer_jax.plan.traced import Traced

GATHER, SCATTER, REDUCE, SWAP = "all-gather", "reduce-scatter", "all-reduce", "all-to-all"
_SHARE = {GATHER: 1.0, SCATTER: 1.0, REDUCE: 2.0, SWAP: 1.0}
# Axes over which parameters and gradients go, which can go while something else is computed.
OVERLAPPED = ("data", "fsdp")
_BATCH = ("data", "fsdp", "expert", "context")  # each device of these has gradients of its own tokens

Sent = dict[str, dict[str, float]]  # axis -> kind -> bytes per device


@dataclass(frozen=True)
class How:
    """How a step is executed.

    Attributes:
      itemsize: bytes of a number of the computation.
      micro: micro-batches of an update.
      again: whether layers are computed again in the backward pass, with what they send.
    """

    itemsize: int
    micro: int
    again: bool


class _Count:
    def __init__(self, sizes: Sizes):
        self.sizes = sizes
        self.sent: Sent = defaultdict(lambda: defaultdict(float))

    def add(self, kind: str, axes, whole: float, times: float = 1.0) -> None:
        """Of an array that has `whole` bytes where it is whole along `axes`; one axis after the other."""
        for axis in axes:
            n = self.sizes[axis]
            if n > 1:
                self.sent[axis][kind] += times * _SHARE[kind] * whole * (n - 1) / n
                whole = whole / n if kind in (GATHER, SCATTER) else whole


def communication(layout: Layout, traced: Traced, sizes: Sizes, how: How) -> Sent:
    """Bytes that each device sends in one update, by mesh axis and kind."""
    count = _Count(sizes)
    _parameters(count, layout, how)
    _activations(count, traced, how)
    return {axis: dict(count.sent[axis]) for axis in AXES if axis in count.sent}


def _parameters(count: _Count, layout: Layout, how: How) -> None:
    """FSDP gathers parameters for the forward and for the backward pass; gradients are summed where they lie."""
    fsdp, micro = frozenset(["fsdp"]), how.micro
    for leaf in layout.params:
        if "fsdp" in leaf.own:
            whole = leaf.local(count.sizes, fsdp) * how.itemsize
            count.add(GATHER, ["fsdp"], whole, 2 * micro)
            if leaf.trained:
                count.add(SCATTER, ["fsdp"], whole, micro)
        if leaf.trained:
            own = leaf.local(count.sizes) * how.itemsize
            for axis in _BATCH:
                if axis not in leaf.own:
                    count.add(REDUCE, [axis], own, micro)


def _activations(count: _Count, traced: Traced, how: How) -> None:
    again = 2 if how.again else 1
    last = {id(product): product for product in traced.products if product.layered and _summed(product, count.sizes)}
    final = next(reversed(last), None)  # nobody reads it again: what follows it belongs to the next layer
    reduced = set()
    for product in traced.products:
        forward = how.micro * product.times * (1 if id(product) == final or not product.layered else again)
        _product(count, product, forward, how.micro * product.times, reduced)
    for lookup in traced.lookups:
        _lookup(count, lookup, how.micro * lookup.times * (again if lookup.layered else 1))


def _axes(value: Labelled, sizes: Sizes) -> list[frozenset[str]]:
    """The axes that each dimension of an operand is divided by, FSDP's of parameters gathered."""
    if not value.of_batch:
        value = Labelled(
            tuple(tuple((None if label == WIDTH else label, size) for label, size in dim) for dim in value.dims),
            value.itemsize,
        )
    return [frozenset(axes) for axes in value.axes(sizes)]


def _summed(product: Product, sizes: Sizes) -> frozenset[str]:
    """The axes that both operands are divided by along what is summed: each device has a part of the sum."""
    left, right = _axes(product.left, sizes), _axes(product.right, sizes)
    return frozenset(axis for a, b in product.pairs for axis in left[a] & right[b])


def _product(count: _Count, product: Product, forward: float, backward: float, reduced: set) -> None:
    sizes = count.sizes
    sides = (product.left, product.right)
    axes = [_axes(side, sizes) for side in sides]
    count.add(REDUCE, sorted(_summed(product, sizes)), product.out.local_bytes(sizes), forward)
    shared = [{pair[side] for pair in (*product.pairs, *product.batch)} for side in (0, 1)]
    free = [_union(axes[side], [at for at in range(len(axes[side])) if at not in shared[side]]) for side in (0, 1)]
    gathered = [set(), set()]
    for a, b in product.pairs:  # divided on one side only
        gathered[0] |= axes[0][a] - axes[1][b] - {"expert"}
        gathered[1] |= axes[1][b] - axes[0][a] - {"expert"}
    for a, b in product.batch:
        _swapped(count, sides, axes[0][a] ^ axes[1][b], forward + backward)
    both = free[0] & free[1]  # the result can have an axis once: the smaller operand is made whole
    if both:
        gathered[0 if sides[0].local(sizes) < sides[1].local(sizes) else 1] |= both
    for side, value in enumerate(sides):
        if value.of_batch and gathered[side]:
            whole = value.local_bytes(sizes, gathered[side])
            count.add(GATHER, sorted(gathered[side]), whole, forward)  # the backward pass keeps it
            count.add(SCATTER, sorted(gathered[side]), whole, backward)
        # The gradient of this side sums over what the other one has of its own.
        parts = free[1 - side] - gathered[1 - side] - gathered[side]
        key = (product.sources[side], parts)
        if value.of_batch and value.of_params and parts and key not in reduced:
            reduced.add(key)
            count.add(REDUCE, sorted(parts), value.local_bytes(sizes), backward)


def _swapped(count: _Count, sides, axes, times: float) -> None:
    """Tokens go to the experts that lie elsewhere."""
    if "expert" in axes:
        tokens = sorted((side for side in sides if side.of_batch), key=lambda side: -side.has("expert"))
        count.add(SWAP, ["expert"], (tokens or sides)[0].local_bytes(count.sizes), times)


def _lookup(count: _Count, lookup: Lookup, times: float) -> None:
    """Each device looks up the rows that it has, and all add up what they found."""
    table = _axes(lookup.table, count.sizes)
    divided = _union(table, range(len(table))) - _union(_axes(lookup.out, count.sizes), range(len(lookup.out.dims)))
    count.add(REDUCE, sorted(divided), lookup.out.local_bytes(count.sizes), times)


def _union(axes: list[frozenset[str]], dims) -> frozenset[str]:
    return frozenset().union(*(axes[at] for at in dims))
