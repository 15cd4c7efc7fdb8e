"""`follow`: logical axis names carried from parameters and batch through a traced program, equation by equation.

So every variant is counted by what it computes, and one trace serves all meshes. What an equation does to dimensions
that it has no rule for is guessed by position and size; a dimension that is lost counts as whole on each device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from jax.extend.core import Literal, jaxprs_in_params

from transformer_jax.plan.labels import LAYERS, WIDTH, Dim, Labelled, is_labelled, itemsize, plain, regrouped


@dataclass(frozen=True)
class Product:
    """A `dot_general`: what is known of its operands and its result.

    Attributes:
      pairs: contracted dimensions of left and right; `batch` likewise.
      times: it is computed in a step.
      sources: equal for operands that are one array.
      layered: whether it is computed once in each layer.
    """

    left: Labelled
    right: Labelled
    out: Labelled
    pairs: tuple[tuple[int, int], ...]
    batch: tuple[tuple[int, int], ...]
    times: int
    sources: tuple[int, int]
    layered: bool


@dataclass(frozen=True)
class Lookup:
    """A `gather` from a table (a parameter), or from an array of the batch."""

    table: Labelled
    out: Labelled
    times: int
    layered: bool


@dataclass
class Flow:
    """What was met on the way."""

    products: list[Product] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    times: int = 1
    layered: bool = False


def follow(jaxpr, consts: Sequence[Labelled], args: Sequence[Labelled], flow: Flow) -> tuple[list[Labelled], dict]:
    """(what is known of a jaxpr's results, and of each of its variables)."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom) -> Labelled:
        return plain(atom.aval) if isinstance(atom, Literal) else known.get(atom, plain(atom.aval))

    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        outs = _RULES.get(equation.primitive.name, _default)(equation, values, flow)
        if equation.primitive.name not in _NESTED:
            outs = [_of(values, out, var.aval) for out, var in zip(outs, equation.outvars, strict=True)]
        known |= dict(zip(equation.outvars, outs, strict=True))
        _back(equation, values, outs, known)
    return [read(atom) for atom in jaxpr.outvars], known


def _of(values, out: Labelled, aval) -> Labelled:
    """With what it hangs on. Activations never lie along the width as parameters do."""
    of_batch = out.of_batch or any(value.of_batch for value in values)
    of_params = out.of_params or any(value.of_params for value in values)
    dims = out.dims
    if of_batch:
        dims = tuple(tuple((None if label == WIDTH else label, size) for label, size in dim) for dim in dims)
    return Labelled(dims, itemsize(aval), of_batch, of_params)


def _back(equation, values, outs, known) -> None:
    """Masks and the like, made without labels, lie as what they meet in an elementwise equation."""
    if equation.primitive.name in _RULES or len(outs) != 1 or not outs[0].of_batch:
        return
    for atom, value in zip(equation.invars, values, strict=True):
        if isinstance(atom, Literal) or _shape(value) != _shape(outs[0]) or value.of_params:
            continue
        dims = tuple(own if is_labelled(own) else met for own, met in zip(value.dims, outs[0].dims, strict=True))
        if dims != value.dims:
            known[atom] = replace(value, dims=dims)


def _shape(value: Labelled) -> tuple[int, ...]:
    return tuple(_size(dim) for dim in value.dims)


def _size(dim: Dim) -> int:
    size = 1
    for _, n in dim:
        size *= n
    return size


def _default(equation, values, flow) -> list[Labelled]:
    """Elementwise, or nearly: a dimension has the label that an operand of as many dimensions has there."""
    found = []
    for var in equation.outvars:
        shape = tuple(getattr(var.aval, "shape", ()))
        alike = [value.dims for value in values if len(value.dims) == len(shape)]
        dims = []
        for at, size in enumerate(shape):
            own = [dims[at] for dims in alike if _size(dims[at]) == size]
            dims.append(next((dim for dim in own if is_labelled(dim)), ((None, size),)))
        found.append(Labelled(tuple(dims), itemsize(var.aval)))
    return found


def _single(rule):
    """A rule that gives the dimensions of the one result."""

    def apply(equation, values, flow):
        return [Labelled(tuple(rule(equation.params, values, equation.outvars[0].aval)), 1)]

    return apply


def _broadcast(params, values, aval):
    dims = [((None, size),) for size in aval.shape]
    for at, dim in zip(params["broadcast_dimensions"], values[0].dims, strict=True):
        if _size(dim) == aval.shape[at]:
            dims[at] = dim
    return dims


def _reshape(params, values, aval):
    dims = regrouped(values[0].dims, aval.shape)
    return [((None, size),) for size in aval.shape] if dims is None else dims


def _transpose(params, values, aval):
    return [values[0].dims[at] for at in params["permutation"]]


def _squeeze(params, values, aval):
    gone = {at % len(values[0].dims) for at in params["dimensions"]}
    return [dim for at, dim in enumerate(values[0].dims) if at not in gone]


def _reduce(params, values, aval):
    return [dim for at, dim in enumerate(values[0].dims) if at not in params["axes"]][: len(aval.shape)]


def _cut(equation, values, flow) -> list[Labelled]:
    """A part of an array, or more of it: what is left lies as before, unless it is one entry."""
    found = []
    for var in equation.outvars:
        dims = []
        for dim, size in zip(values[0].dims, var.aval.shape, strict=True):
            label = next((label for label, _ in dim if label), None)
            dims.append(dim if _size(dim) == size else ((label if size > 1 else None, size),))
        found.append(Labelled(tuple(dims), 1))
    return found


def _dot(equation, values, flow) -> list[Labelled]:
    left, right = values[:2]
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    batch = []
    for a, b in zip(left_batch, right_batch, strict=True):
        batch.append(left.dims[a] if is_labelled(left.dims[a]) else right.dims[b])
    own = [dim for at, dim in enumerate(left.dims) if at not in (*left_sum, *left_batch)]
    other = [dim for at, dim in enumerate(right.dims) if at not in (*right_sum, *right_batch)]
    out = _of(values, Labelled((*batch, *own, *other), 1), equation.outvars[0].aval)
    pairs = tuple(zip(left_sum, right_sum, strict=True)), tuple(zip(left_batch, right_batch, strict=True))
    flow.products.append(
        Product(left, right, out, *pairs, flow.times, tuple(id(v) for v in equation.invars[:2]), flow.layered)
    )
    return [out]


def _ragged(equation, values, flow) -> list[Labelled]:
    """Rows of the left with the last dimension of the right."""
    shape = equation.outvars[0].aval.shape
    dims = [values[0].dims[0], values[1].dims[-1]] if len(shape) == 2 else [((None, size),) for size in shape]
    return [Labelled(tuple(dims), 1)]


def _gather(equation, values, flow) -> list[Labelled]:
    table, index = values[:2]
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape = equation.outvars[0].aval.shape
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    windows = iter([at for at in range(len(table.dims)) if at not in gone])
    looked = iter(index.dims[:-1])
    dims = []
    for at, size in enumerate(shape):
        if at in numbers.offset_dims:
            source = next(windows)
            dim = table.dims[source]
            dims.append(dim if sizes[source] == _size(dim) else ((None, size),))
        else:
            dims.append(next(looked, ((None, size),)))
    out = _of(values, Labelled(tuple(dims), 1), equation.outvars[0].aval)
    flow.lookups.append(Lookup(table, out, flow.times, flow.layered))
    return [out]


def _inner(equation, values, flow) -> list[Labelled]:
    """A jaxpr that is called: its operands are the last ones."""
    jaxpr = next(iter(jaxprs_in_params(equation.params)))
    args = values[len(values) - len(jaxpr.invars) :] if len(values) >= len(jaxpr.invars) else None
    if args is None or len(jaxpr.outvars) != len(equation.outvars):
        found = zip(_default(equation, values, flow), equation.outvars, strict=True)
        return [_of(values, out, var.aval) for out, var in found]
    return follow(jaxpr, _constants(jaxpr), args, flow)[0]


def _constants(jaxpr) -> list[Labelled]:
    return [plain(var.aval) for var in jaxpr.constvars]


def _scan(equation, values, flow) -> list[Labelled]:
    params = equation.params
    jaxpr, consts, carried = params["jaxpr"].jaxpr, params["num_consts"], params["num_carry"]
    fixed, carry, over = values[:consts], values[consts : consts + carried], values[consts + carried :]
    lead = next((x.dims[0] for x in over if is_labelled(x.dims[0])), ((None, params["length"]),))
    each = [replace(x, dims=x.dims[1:]) for x in over]
    layered = any(label == LAYERS for label, _ in lead)
    for last in (False, False, True):  # what is carried gets its labels inside
        inside = Flow(times=flow.times * params["length"], layered=flow.layered or layered)
        outs, _ = follow(jaxpr, _constants(jaxpr), [*fixed, *carry, *each], inside)
        carry = [_joined(old, new) for old, new in zip(carry, outs[:carried], strict=True)]
        if last:
            flow.products += inside.products
            flow.lookups += inside.lookups
    return carry + [replace(out, dims=(lead, *out.dims)) for out in outs[carried:]]


def _joined(old: Labelled, new: Labelled) -> Labelled:
    dims = tuple(a if is_labelled(a) else b for a, b in zip(old.dims, new.dims, strict=True))
    return Labelled(dims, old.itemsize, old.of_batch or new.of_batch, old.of_params or new.of_params)


def _while(equation, values, flow) -> list[Labelled]:
    params = equation.params
    skip, jaxpr = params["cond_nconsts"], params["body_jaxpr"].jaxpr
    args = values[skip:]
    outs, _ = follow(jaxpr, _constants(jaxpr), args, Flow())
    return [_joined(old, new) for old, new in zip(args[params["body_nconsts"] :], outs, strict=True)]


def _cond(equation, values, flow) -> list[Labelled]:
    found = None
    for branch in equation.params["branches"]:
        outs, _ = follow(branch.jaxpr, _constants(branch.jaxpr), values[1:], flow)
        found = outs if found is None else [_joined(a, b) for a, b in zip(found, outs, strict=True)]
    return found


_NESTED = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint"), _inner),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin"), _inner),
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
_REDUCTIONS = ("sum", "max", "min", "prod", "and", "or", "xor")
_RULES = {
    "broadcast_in_dim": _single(_broadcast),
    "reshape": _single(_reshape),
    "transpose": _single(_transpose),
    "squeeze": _single(_squeeze),
    **{f"reduce_{name}": _single(_reduce) for name in _REDUCTIONS},
    "argmax": _single(_reduce),
    "argmin": _single(_reduce),
    **dict.fromkeys(("slice", "dynamic_slice", "pad", "split"), _cut),
    "dot_general": _dot,
    "ragged_dot_general": _ragged,
    "ragged_dot": _ragged,
    "gather": _gather,
    **_NESTED,
}
