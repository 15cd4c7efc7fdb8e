"""Parameters of layers, as scans have them stacked, apart, and stacked otherwise."""

import dataclasses

import jax
import jax.numpy as jnp

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import LAYERS, SLOT


def split(arch: Arch, params: dict) -> tuple[Arch, dict]:
    """The same model with `stack='split'`: every layer has arrays of its own, parameters and cache.

    So nothing that is stacked is copied for one layer's sake, nor a whole cache for a layer's new entry.
    """
    if arch.execution.stack == "split":
        return arch, params
    own = {}
    for stack in arch.stacks:
        layers = unstacked(params[stack][LAYERS], arch.of(stack).parts.period)
        own[stack] = params[stack] | {LAYERS: {f"{SLOT}{n}": layer for n, layer in enumerate(layers)}}
    execution = dataclasses.replace(arch.execution, stack="split")
    return dataclasses.replace(arch, execution=execution), params | own


def unstacked(layers, period: int, depth: int | None = None) -> list[dict]:
    """A tree per layer, from what the scan over groups of `period` has stacked; axis names lose 'layers'."""
    slots = [layers] if period == 1 else [layers[f"{SLOT}{slot}"] for slot in range(period)]
    is_names = depth is not None
    leaf_of = (lambda leaf, group: leaf[1:]) if is_names else (lambda leaf, group: leaf[group])
    depth = period * len(jax.tree.leaves(slots[0])[0]) if depth is None else depth
    is_leaf = (lambda x: isinstance(x, tuple)) if is_names else None
    return [
        jax.tree.map(lambda leaf, n=n: leaf_of(leaf, n // period), slots[n % period], is_leaf=is_leaf)
        for n in range(depth)
    ]


def stacked(layers: list[dict], period: int) -> dict:
    """The inverse of `unstacked`."""
    layers = [{name: part for name, part in layer.items() if part} for layer in layers]
    slots = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers[slot::period]) for slot in range(period)]
    return slots[0] if period == 1 else {f"{SLOT}{slot}": tree for slot, tree in enumerate(slots)}
