"""The interface of a mixer, and the cache that it may keep while decoding."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import Context, Layer, Part
from transformer_jax.registry import Registry

mixers = Registry("mixer", "transformer_jax.model.mixer", base_fields=("arch", "position", "causal", "crossing"))


class Mixer(Part):
    """Self-attention, cross-attention, or what stands in their place.

    Attributes:
      position: spec of the position scheme, 'none' in cross-attention (the two axes do not compare).
      causal: whether the stack is.
      crossing: whether keys and values come from the memory (cross-attention) and not from `x_BLD`.
      reads: class attribute: the hooks of position schemes that the mixer calls.
      places: class attribute: where it can stand, 'self', 'cross' or both.
      has_heads: class attribute: whether it multiplies its H heads with `layer.heads`.
      mixes: class attribute: whether it reads other positions at all. An encoder that nobody reads costs nothing.
    """

    position: str
    causal: bool
    crossing: bool

    reads: ClassVar[frozenset[str]] = frozenset()
    places: ClassVar[frozenset[str]] = frozenset({"self", "cross"})
    has_heads: ClassVar[bool] = False
    mixes: ClassVar[bool] = True

    @classmethod
    def open(cls, arch: Arch, x_BLD) -> dict:
        """What the mixer carries from layer to layer, by name, as it is before the first layer."""
        return {}

    def __call__(self, x_BLD, memory_BMD, *, ctx: Context, layer: Layer, carried: dict):
        """y_BLD.

        Args:
          memory_BMD: None in self-attention, and in cross-attention once it has been cached.
          carried: what `open` made, as the layer below left it; the mixer puts its own values in.
        """
        raise NotImplementedError

    def flops(self, length: int, memory_length: int) -> float:
        """FLOPs of one layer's forward pass over a row, beside those of its parameter matrices and its positions."""
        return 0.0

    def position_flops(self, length: int, memory_length: int, rows: int) -> float:
        """What the position scheme adds to that, as its own `flops` counts it."""
        return 0.0

    def multiplied(self, name: str, length: int, memory_length: int) -> float:
        """With how many vectors of a row the parameter matrix `name` is multiplied."""
        return memory_length if self.crossing and name in ("key", "value") else length

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
