"""`Recurrent`: mixers that carry a state of constant size from position to position."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.mixer.base import Mixer
from transformer_jax.shapes import Array, Bool, Int, checked


class Recurrent(Mixer):
    """A variant gives `zero` and `run`; the state is cached here, so that decoding takes constant memory.

    In an encoder two copies with parameters of their own read the row forwards and backwards, and their
    outputs are added (Schuster & Paliwal 1997). In a prefix-LM the second copy reads each segment's first part only,
    and adds nothing behind it.
    """

    places = frozenset({"self"})
    unshardable: ClassVar[Mapping[str, str]] = {
        "context": "its state passes from position to position, so devices along the length would wait for each other"
    }

    def zero(self, batch: int):
        """The state before the first position, a pytree of [batch, …]."""
        raise NotImplementedError

    def run(self, x_BLD, state, valid_BL, reset_BL, ctx, layer):
        """(y_BLD, the state after the last position), for any L: training, prefill and single steps alike.

        Args:
          valid_BL: False on padding, which leaves the state as it is.
          reset_BL: True where the state is zeroed before the position is read.
        """
        raise NotImplementedError

    def problems(self) -> list[str]:
        if self.crossing:
            return ["a recurrence reads one sequence from end to end, it cannot read a memory: take an attention"]
        return []

    @nn.compact
    def __call__(self, x_BLD, memory_BMD, *, ctx, layer, carried):
        if not self.causal:
            return self.both_ways(x_BLD, ctx, layer)
        valid_BL, reset_BL = ctx.qseg_BL > 0, segment_starts(ctx.qseg_BL)
        return self.go_on(ctx, x_BLD.shape[0], lambda state: self.run(x_BLD, state, valid_BL, reset_BL, ctx, layer))

    def go_on(self, ctx, batch: int, read):
        """The first of `read(state) -> (y, the next state)`, from zero, or from the cached state on and into it."""
        if ctx.cache_len is None:
            return read(self.zero(batch))[0]
        cache = self.variable("cache", "state", self.zero, batch)
        y, cache.value = read(cache.value)
        return y

    def both_ways(self, x_BLD, ctx, layer):
        """One copy forwards, one backwards."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("parent", "name")}
        forward, backward = (type(self)(**fields | {"causal": True}, name=name) for name in ("forward", "backward"))
        seg_BL = read_backwards(ctx)
        # The first part is read at once, and nothing of it is needed in later calls: no cache.
        turned = ctx.replace(qpos_BL=ctx.qpos_BL[:, ::-1], qseg_BL=seg_BL[:, ::-1], cache_len=None)
        ahead_BLD = forward(x_BLD, None, ctx=ctx, layer=layer, carried={})
        back_BLD = backward(x_BLD[:, ::-1], None, ctx=turned, layer=layer, carried={})[:, ::-1]
        return ahead_BLD + (back_BLD if ctx.qparts_BL is None else jnp.where((seg_BL > 0)[..., None], back_BLD, 0))


def read_backwards(ctx):
    """The segments of what is read from behind too: 0 on padding, and in a prefix-LM on all but the first part."""
    return ctx.qseg_BL if ctx.qparts_BL is None else jnp.where(ctx.qparts_BL == 0, ctx.qseg_BL, 0)


@checked
def segment_starts(seg_BL: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """True where a segment begins behind another one in the same row; padding (0) between them is passed over.

    A row's first segment does not count: it goes on from the state that is there, zero or cached.
    """
    at_L = jnp.arange(seg_BL.shape[1])
    last_BL = jax.lax.cummax(jnp.where(seg_BL > 0, at_L, -1), axis=1)
    before_BL = jnp.pad(last_BL[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    previous_BL = jnp.take_along_axis(seg_BL, jnp.maximum(before_BL, 0), axis=1)
    return (seg_BL > 0) & (before_BL >= 0) & (previous_BL != seg_BL)
