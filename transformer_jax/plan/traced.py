"""`trace`: what the backward pass of a config's step keeps, and the products that its forward pass computes."""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from transformer_jax.batch import Batch
from transformer_jax.data.views.base import views
from transformer_jax.model.arch import Arch
from transformer_jax.model.mixer import mixers
from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.position import positions
from transformer_jax.plan.flow import Flow, Lookup, Product, follow
from transformer_jax.plan.labels import BATCH, LAYERS, LENGTH, Labelled, named, plain
from transformer_jax.train import traced_flops
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.optim import overlay
from transformer_jax.train.step import Step


@dataclass(frozen=True)
class Traced:
    """One micro-batch.

    Attributes:
      kept: what the backward pass reads of the forward pass, parameters and batch left out.
      loops: for each of these, which loop it comes out of; None for none.
      products, lookups: of the forward pass.
    """

    kept: tuple[Labelled, ...]
    loops: tuple[int | None, ...]
    products: tuple[Product, ...]
    lookups: tuple[Lookup, ...]


def trace(step: Step, batch: Batch, hyper: Hyper) -> Traced:
    """Follows the forward pass, as the backward pass will need it.

    Args:
      batch, hyper: structs, of one micro-batch.
    """

    def forward(trained, rest, batch, hyper):
        def total(trained):
            return step.loss(overlay(rest, trained), batch, hyper.key, hyper)[0].total

        value, back = jax.vjp(total, trained)
        return back, value

    boxed = step.boxed_params
    arguments = (step.trained(_unboxed(boxed)), _unboxed(boxed), batch, hyper)
    labels = (
        [_parameter(leaf) for leaf in jax.tree.leaves(step.trained(boxed), is_leaf=_is_boxed)],
        [_parameter(leaf) for leaf in jax.tree.leaves(boxed, is_leaf=_is_boxed)],
        [named(leaf, (BATCH, LENGTH), of_batch=True) for leaf in jax.tree.leaves(batch)],
        [plain(leaf, of_batch=True) for leaf in jax.tree.leaves(hyper)],  # dropout's masks come from them
    )
    closed = jax.make_jaxpr(forward)(*arguments)
    flow = Flow()
    jaxpr = closed.jaxpr
    _, known = follow(jaxpr, [plain(var.aval) for var in jaxpr.constvars], list(itertools.chain(*labels)), flow)
    given = {*jaxpr.invars, *jaxpr.constvars}
    # What hangs on neither is a constant, which compilers make where it is read.
    kept = [var for var in _distinct(jaxpr) if var not in given and (known[var].of_batch or known[var].of_params)]
    loops = {var: at for at, equation in enumerate(jaxpr.eqns) for var in equation.outvars if _is_loop(equation)}
    return Traced(
        tuple(known[var] for var in kept), tuple(map(loops.get, kept)), tuple(flow.products), tuple(flow.lookups)
    )


def _distinct(jaxpr) -> list:
    """The results, each array once: a scan may give out one value of its body several times."""
    twins = {}
    for equation in jaxpr.eqns:
        if _is_loop(equation):
            inside, carried = equation.params["jaxpr"].jaxpr.outvars, equation.params["num_carry"]
            first = {}
            for inner, outer in list(zip(inside, equation.outvars, strict=True))[carried:]:
                if not isinstance(inner, Literal):
                    twins[outer] = first.setdefault(inner, outer)
    return list(dict.fromkeys(twins.get(var, var) for var in jaxpr.outvars[:-1] if not isinstance(var, Literal)))


def _is_loop(equation) -> bool:
    return equation.primitive.name == "scan"


def structs(config, arch: Arch) -> tuple[Batch, Hyper]:
    """A micro-batch and the hyperparameters of a config, without values."""
    d, rows = config.data, config.data.batch_size // config.optim.accumulate

    def of(length, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((rows, length), dtype)

    batch = Batch(of(d.length), of(d.length), of(d.length, jnp.float32), of(d.length), of(d.length), of(d.length))
    if views.build(d.view).has_parts:
        batch = batch.replace(parts_BL=of(d.length))
    if arch.reads_source:
        source = dict.fromkeys(("source_BM", "source_positions_BM", "source_segments_BM"), of(d.source_length))
        batch = batch.replace(**source)
    return batch, jax.eval_shape(lambda: Hyper.from_config(config, arch))


def with_execution(arch: Arch, **changes) -> Arch:
    """The same model, executed otherwise."""
    return dataclasses.replace(arch, execution=dataclasses.replace(arch.execution, **changes))


def executed_flops(step: Step, batch: Batch, hyper: Hyper) -> float | None:
    """FLOPs of the matrix products of a micro-batch, those included that are computed again to save memory.

    None where they cannot be read from the program.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = Step(step.arch, dataclasses.replace(step.recipe, accumulate=1))
    jaxpr = jax.make_jaxpr(step.gradients)(_unboxed(step.boxed_params), batch, key, hyper)
    try:
        return traced_flops.count(jaxpr)
    except NotImplementedError:
        return None


def fuses(arch: Arch) -> bool:
    """Whether all attention of a model goes through a fused kernel where there is one."""
    for stack in arch.stacks:
        own = arch.of(stack)
        for layer in range(own.parts.period):
            parts = own.parts.at(layer)
            position = positions.build(parts.position, arch=own.at(layer), causal=own.causal(stack), parent=None)
            mixer = mixers.build(
                parts.mixer,
                arch=own.at(layer),
                position=parts.position,
                causal=own.causal(stack),
                crossing=False,
                parent=None,
            )
            if isinstance(mixer, Attention) and not mixer.fuses(position):
                return False
    return True


def is_weights(kept: Labelled) -> bool:
    """Whether an array of a layer is as large as all pairs of positions, which a fused kernel does not keep."""
    return kept.of_batch and kept.has(LAYERS) > 0 and kept.has(LENGTH) > 1


def _parameter(leaf) -> Labelled:
    value = leaf.value if _is_boxed(leaf) else leaf
    return named(value, leaf.names if _is_boxed(leaf) else (), of_params=True)


def _is_boxed(leaf) -> bool:
    return hasattr(leaf, "names")


def _unboxed(tree: Mapping):
    return jax.tree.map(lambda leaf: leaf.value if _is_boxed(leaf) else leaf, tree, is_leaf=_is_boxed)
