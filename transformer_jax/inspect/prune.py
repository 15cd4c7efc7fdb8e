"""Structural pruning: a smaller model that computes what the masked one did."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from transformer_jax.combinations import part_problems, spec_problems
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.base import LAYERS
from transformer_jax.model.heads import Masks
from transformer_jax.model.layers import stacked, unstacked
from transformer_jax.model.mixer import mixers
from transformer_jax.parallel.rules import is_boxed, unbox
from transformer_jax.registry import format_spec, parse_spec
from transformer_jax.train.step import boxed_params

_KEYS = {
    ("decoder", "attention"): "mixer",
    ("encoder", "attention"): "encoder_mixer",
    ("decoder", "cross"): "cross_mixer",
}
_HEAD_AXES = ("heads", "kv_heads")


def prune(config: ConfigDict, params, masks: Masks, *, vocab: int) -> tuple[ConfigDict, dict]:
    """(config, params) of the model without the heads that `masks` removes.

    The layers then differ: their specs get `kept=(…)` in a pattern, and a layer without heads gets the mixer
    'none'; mixers that have no heads stay. A pruned model can be pruned again.

    Args:
      params: of `config`'s model, as trained; `vocab`: of its tokenizer.

    Raises:
      UserError: if heads share keys or have parameters between them, or a layer with biases would lose all of its own.
    """
    old = Arch.from_config(config, vocab=vocab, platform="cpu")
    pruned = ConfigDict(config.copy_and_resolve_references())
    pruned.model.head_size = old.dims.head_size
    kept = {}
    for stack in old.stacks:
        for sublayer, mask_NH in masks[stack].items():
            kept[stack, sublayer] = [tuple(np.flatnonzero(mask_H).tolist()) for mask_H in mask_NH]
            specs = [_spec(old, stack, sublayer, n, heads) for n, heads in enumerate(kept[stack, sublayer])]
            pruned.model[_KEYS[stack, sublayer]] = ", ".join(specs)
    found = spec_problems(pruned) or part_problems(pruned)
    if found:
        raise UserError("\n".join(found))
    new = Arch.from_config(pruned, vocab=vocab, platform="cpu")

    axes = jax.tree.map(lambda leaf: leaf.names if is_boxed(leaf) else (), boxed_params(old), is_leaf=is_boxed)
    small = dict(params)
    for stack in old.stacks:
        layers = unstacked(params[stack][LAYERS], old.of(stack).parts.period)
        names = unstacked(axes[stack][LAYERS], old.of(stack).parts.period, depth=len(layers))
        for n, layer in enumerate(layers):
            for sublayer in masks[stack]:
                before, after = _kept(old, stack, sublayer, n), kept[stack, sublayer][n]
                if before:  # else the mixer has no heads, and stays
                    layer[sublayer] = _cut(layer[sublayer], names[n][sublayer], before, after) if after else {}
        small[stack] = params[stack] | {LAYERS: stacked(layers, new.of(stack).parts.period)}
    shapes, wanted = (jax.tree.map(jnp.shape, tree) for tree in (small, unbox(boxed_params(new))))
    if shapes != wanted:
        raise UserError(f"model.mixer={config.model.mixer!r} has parameters between its heads, which cannot be cut")
    return pruned, small


def _spec(arch: Arch, stack: str, sublayer: str, layer: int, heads: tuple[int, ...]) -> str:
    parts = arch.of(stack).at(layer).parts
    name, arguments = parse_spec(parts.cross_mixer if sublayer == "cross" else parts.mixer)
    if not mixers.lookup(name).has_heads:
        return format_spec(name, **dict(arguments))
    before = _kept(arch, stack, sublayer, layer)
    if not set(heads) <= set(before):
        raise UserError(f"{stack}.{sublayer}, layer {layer}: heads {heads} are asked for, and there are {before}")
    if not heads and arch.parts.bias:
        raise UserError(f"{stack}.{sublayer}, layer {layer}: without a head its output bias would be lost; keep one")
    if not heads:
        return "none"
    if heads == before:
        return format_spec(name, **dict(arguments))
    return format_spec(name, **dict(arguments) | {"kept": heads})


def _kept(arch: Arch, stack: str, sublayer: str, layer: int) -> tuple[int, ...]:
    """The heads that a layer has now."""
    parts = arch.of(stack).at(layer).parts
    name, arguments = parse_spec(parts.cross_mixer if sublayer == "cross" else parts.mixer)
    if not mixers.lookup(name).has_heads:
        return ()
    return dict(arguments).get("kept") or tuple(range(arch.dims.heads))


def _cut(tree, names, before: tuple[int, ...], after: tuple[int, ...]):
    """A sublayer's parameters with the heads `after` out of `before`."""
    rows = np.array([before.index(head) for head in after])

    def cut(leaf, axes):
        for axis, name in enumerate(axes):
            if name in _HEAD_AXES and leaf.shape[axis] == len(before):  # one key head for all stays as it is
                leaf = jnp.take(leaf, rows, axis=axis)
        return leaf

    return jax.tree.map(cut, tree, names)
