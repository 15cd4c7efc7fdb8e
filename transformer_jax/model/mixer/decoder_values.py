"""Cross-attention that takes only the weights from the memory."""

import jax.numpy as jnp

from transformer_jax.model.mixer.attention import Attention, whole
from transformer_jax.model.mixer.base import mixers
from transformer_jax.shapes import Array, Bool, Int, checked


@checked
def counterparts(
    pos_BM: Int[Array, "B M"], seg_BM: Int[Array, "B M"], own_pos_BN: Int[Array, "B N"], own_seg_BN: Int[Array, "B N"]
) -> tuple[Int[Array, "B M"], Bool[Array, "B M"]]:
    """The decoder's slot with the position and segment of each one of the memory, and whether there is such a slot."""
    same_BMN = (pos_BM[:, :, None] == own_pos_BN[:, None, :]) & (seg_BM[:, :, None] == own_seg_BN[:, None, :])
    same_BMN &= (seg_BM > 0)[:, :, None]
    return same_BMN.argmax(-1), same_BMN.any(-1)


@mixers.register("decoder_values")
class DecoderValues(Attention):
    """y_i = Σ_{p <= i} w(q_i, k_p) v_p: keys from the memory, v_p from the decoder's own input at position p.

    A control for what cross-attention carries over: nothing of the memory but the choice of positions. Positions of
    the memory that the decoder has not reached are masked.
    """

    places = frozenset({"cross"})
    cost = "B M N comparisons, N the decoder's positions; its values are cached beside the memory's keys"

    def problems(self):
        if self.crossing:
            return super().problems()
        return ["decoder_values reads a memory's keys: it is for cross-attention, and self-attention has no memory"]

    def multiplied(self, name, length, memory_length):
        return length if name == "value" else super().multiplied(name, length, memory_length)

    def keys_values(self, x_BLD, memory_BMD, position, ctx, layer, carried):
        def keys():
            return (self.normed(self.project(memory_BMD, "key", self.groups, "kv_heads", layer), "key_norm"),)

        (k_BMGK,) = self.keep(ctx, None if memory_BMD is None else keys)
        (v_BNGK,) = self.append(ctx.own, value=self.project(x_BLD, "value", self.groups, "kv_heads", layer))
        (v_BNGK,) = whole(v_BNGK)  # before its positions are picked, which may lie on any device
        slot_BM, _ = self.aligned(ctx)
        return k_BMGK, jnp.take_along_axis(v_BNGK, slot_BM[:, :, None, None], axis=1)

    def mask(self, ctx):
        _, found_BM = self.aligned(ctx)
        reached_BLM = ctx.kpos_BM[:, None, :] <= ctx.qpos_BL[:, :, None]
        return super().mask(ctx) & (reached_BLM & found_BM[:, None, :])[:, None]

    def aligned(self, ctx):
        """Where the memory's positions lie among the decoder's slots."""
        return counterparts(ctx.kpos_BM, ctx.kseg_BM, ctx.own.kpos_BM, ctx.own.kseg_BM)
