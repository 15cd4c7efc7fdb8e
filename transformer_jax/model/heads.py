"""Heads as data: masks that the model takes as an argument, so that runs with different masks share one program.

A mask is `{stack: {sublayer: factors_NH}}`: 1 keeps a head of a layer, 0 removes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import numpy as np

from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.mixer import mixers

Masks = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True, order=True)
class Head:
    """One head: `decoder.attention 2.3` is head 3 of the decoder's self-attention in layer 2, both from 0."""

    stack: str
    sublayer: str
    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.stack}.{self.sublayer} {self.layer}.{self.head}"


def present(arch: Arch) -> Masks:
    """1 for every head that the model has, 0 for those that were pruned or that a layer's mixer does not have."""
    masks: Masks = {}
    for stack in arch.stacks:
        masks[stack] = {}
        for sublayer in arch.sublayers(stack)[:-1]:
            mask_NH = np.zeros((arch.depth(stack), arch.dims.heads), np.float32)
            period = arch.of(stack).parts.period
            for layer in range(period):
                parts = arch.of(stack).at(layer).parts
                spec = parts.cross_mixer if sublayer == "cross" else parts.mixer
                if mixers.lookup(spec).has_heads:
                    kept = mixers.arguments(spec).get("kept")
                    mask_NH[layer::period, slice(None) if kept is None else list(kept)] = 1
            masks[stack][sublayer] = mask_NH
    return masks


def heads_in(masks: Masks) -> list[Head]:
    """The heads that a mask keeps, in order."""
    return [
        Head(stack, sublayer, int(layer), int(head))
        for stack, per_sublayer in masks.items()
        for sublayer, mask_NH in per_sublayer.items()
        for layer, head in zip(*np.nonzero(mask_NH), strict=True)
    ]


def without(masks: Masks, heads: Iterable[Head]) -> Masks:
    """A copy of the mask with some heads removed.

    Raises:
      UserError: if one of them is not there.
    """
    have = set(heads_in(masks))
    masks = jax.tree.map(np.copy, masks)
    for head in heads:
        if head not in have:
            known = f"give one of {', '.join(map(str, sorted(have)))}" if have else "the model has no heads"
            raise UserError(f"there is no head {head}: {known}")
        masks[head.stack][head.sublayer][head.layer, head.head] = 0
    return masks


def parse_mask(text: str, arch: Arch) -> Masks | None:
    """The mask of `model.head_mask`: '' for None, 'all' for every head, else without the heads that are named.

    Args:
      text: such as 'decoder.attention 0.1, decoder.cross 1.3'; an encoder's heads are 'encoder.attention 2.0'.

    Raises:
      UserError: if it cannot be read, or names a head that is not there.
    """
    if not text:
        return None
    if text.strip() == "all":
        return present(arch)
    return without(present(arch), [_parse_head(part.strip()) for part in text.split(",")])


def _parse_head(text: str) -> Head:
    try:
        place, numbers = text.split()
        (stack, sublayer), (layer, head) = place.split("."), numbers.split(".")
        return Head(stack, sublayer, int(layer), int(head))
    except ValueError:
        raise UserError(f"cannot read the head {text!r}: one is written like 'decoder.attention 0.3'") from None
