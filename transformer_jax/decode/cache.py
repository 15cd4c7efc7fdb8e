"""A model that reads on where it stopped, and its cache as a whole: other rows of it, and entries taken back.

The model is one whose layers are apart (`model.layers.split`): rows are the first axis of all that is cached.
"""

from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.model.family import families
from transformer_jax.model.head import heads as head_registry


def prefill(arch: Arch, params, prompt: Batch, slots: int, heads=None):
    """Reads right-padded prompts, which may be of unequal length.

    Args:
      prompt: segment 1 on tokens, 0 on padding; targets, weights and bytes are not read.
      slots: of the cache, padding included.

    Returns:
      logits_BV of the token behind each prompt, the cache, and length_B of the prompts.
    """
    # Logits of one position a row: those of all would be the largest array there is.
    (y_BLD, table_VD), cache = _apply(arch, slots, heads, headless=True)({"params": params}, prompt)
    length_B = (prompt.segments_BL > 0).sum(-1).astype(jnp.int32)
    last_B1 = length_B[:, None] - 1
    y_B1D = jnp.take_along_axis(y_BLD, last_B1[..., None], axis=1)
    head = head_registry.build(arch.parts.head, arch=arch, parent=None)
    segments_B1 = jnp.take_along_axis(jnp.asarray(prompt.segments_BL), last_B1, axis=1)
    logits_B1V = head.apply({"params": params.get("head", {})}, y_B1D, table_VD, segments_B1)
    return logits_B1V[:, 0], cache, length_B


def read_on(arch: Arch, params, cache, tokens_BL, position_B, *, parts: bool, heads=None):
    """Reads L more tokens of each row, the first of them at the row's own position.

    Args:
      parts: whether the prompt had parts: what is read now is then the second one.

    Returns:
      logits_BLV and the cache.
    """
    slots = cache["cache"]["decoder"]["segments"].shape[1]
    position_BL = position_B[:, None] + jnp.arange(tokens_BL.shape[1], dtype=jnp.int32)
    ones_BL = jnp.ones_like(tokens_BL)
    batch = Batch(tokens_BL, tokens_BL, ones_BL, position_BL, ones_BL, ones_BL, parts_BL=ones_BL if parts else None)
    return _apply(arch, slots, heads)({"params": params, **cache}, batch)


def _apply(arch: Arch, slots: int, heads, headless: bool = False):
    model = families.build(arch.family, arch=arch, headless=headless)
    return partial(model.apply, mutable=["cache"], heads=heads, cache_len=slots)


def take_rows(cache, row_R, *, with_memory: bool):
    """The cache of the rows `row_R`, which may repeat, be left out, and change places.

    Args:
      with_memory: False leaves what was read of the sources as it is: rows are exchanged for others of one source.
    """

    def take(path, leaf):
        if leaf.ndim == 0 or (_is_memory(path) and not with_memory):
            return leaf
        return jnp.take(leaf, row_R, axis=0)

    return jax.tree_util.tree_map_with_path(take, cache)


def take_back(cache, valid_B, kept_B, window: int):
    """Forgets all but the first `kept_B` of the `window` entries that were appended last.

    Those that stay move to the row's first free slots, so that the cache never grows beyond its longest row. Slots
    behind them become padding. No slot but the window's moves, and slots stay in the order of their positions.

    Args:
      valid_B: how many slots of each row were in use before, without holes.
    """
    cursor = cache["cache"]["decoder"]["cursor"] - window
    used_B = valid_B + kept_B

    def move(path, leaf):
        if leaf.ndim == 0:
            return used_B.max()
        if _is_memory(path):
            return leaf
        new = jax.lax.dynamic_slice_in_dim(leaf, cursor, window, axis=1)
        # Inside the vmap the batch axis is gone, and the slots are at its place.
        leaf = jax.vmap(partial(jax.lax.dynamic_update_slice_in_dim, axis=0))(leaf, new, valid_B)
        if _name(path) == "segments":
            leaf = jnp.where(jnp.arange(leaf.shape[1]) < used_B[:, None], leaf, 0)
        return leaf

    return jax.tree_util.tree_map_with_path(move, cache)


def _names(path) -> list[str]:
    return [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]


def _name(path) -> str:
    return _names(path)[-1]


def _is_memory(path) -> bool:
    """Whether it was read of the source, once."""
    return "memory" in _names(path)
