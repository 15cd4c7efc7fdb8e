"""The interface of a mixer, and the cache that an attention keeps while decoding."""

import jax
import jax.numpy as jnp

from transformer_jax.model.base import Context, Layer, Part
from transformer_jax.registry import Registry

mixers = Registry("mixer", "transformer_jax.model.mixer", base_fields=("arch", "position", "causal", "crossing"))


class Mixer(Part):
    """Self-attention, cross-attention, or what stands in their place.

    Attributes:
      position: spec of the position scheme, 'none' in cross-attention (the two axes do not compare).
      causal: whether the stack is.
      crossing: whether keys and values come from the memory (cross-attention) and not from `x_BLD`.
    """

    position: str
    causal: bool
    crossing: bool

    def __call__(self, x_BLD, memory_BMD, *, ctx: Context, layer: Layer):
        """y_BLD. `memory_BMD` is None in self-attention, and in cross-attention once it has been cached."""
        raise NotImplementedError

    def append(self, ctx: Context, **new):
        """Writes L new entries per array into the layer's cache at `ctx.cursor`; returns all slots.

        Without a cache the arrays come back as they are. What a slot holds never depends on its index: the
        stack knows the true positions and segments of the slots.
        """
        if ctx.cache_len is None:
            return tuple(new.values())
        slots = []
        for name, array in new.items():
            shape = (array.shape[0], ctx.cache_len, *array.shape[2:])
            cache = self.variable("cache", name, jnp.zeros, shape, array.dtype)
            cache.value = jax.lax.dynamic_update_slice_in_dim(cache.value, array, ctx.cursor, axis=1)
            slots.append(cache.value)
        return tuple(slots)

    def keep(self, ctx: Context, compute):
        """`compute()`, a tuple of arrays, written at prefill and read afterwards (`compute` is None then)."""
        if compute is None:
            return self.get_variable("cache", "memory")
        arrays = compute()
        if ctx.cache_len is not None:
            self.variable("cache", "memory", lambda: arrays).value = arrays
        return arrays
