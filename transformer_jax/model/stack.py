"""`Stack`: Block scanned over layers; what all layers share is computed once, here."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import LAYERS, Context, Layer, constrain, drop
from transformer_jax.model.block import Block
from transformer_jax.model.position import positions
from transformer_jax.model.residual import residuals
from transformer_jax.shapes import Array

# What the backward pass may keep; the rest is computed again.
_REMAT = {"full": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}


@struct.dataclass
class Memory:
    """An encoder's output, as a decoder reads it; segment 0 is padding."""

    x_BMD: Array
    seg_BM: Array


class Stack(nn.Module):
    """An encoder or a decoder: positions, `layers` blocks, and the end of the residual stream.

    Attributes:
      causal: whether a position sees only itself and those before it.
      crossing: whether the blocks read a memory.
    """

    arch: Arch
    layers: int
    causal: bool
    crossing: bool

    @nn.compact
    def __call__(self, x_BLD, pos_BL, seg_BL, memory: Memory | None = None, *, dropout=None, cache_len=None):
        """y_BLD.

        Args:
          x_BLD: embeddings.
          pos_BL, seg_BL: int32 true positions and segments (0 is padding).
          memory: what the blocks read if `crossing`; None once it has been cached.
          dropout: rate, which may be traced; None outside training.
          cache_len: slots of the cache, None for none. All L entries are appended at the shared cursor;
            padding stays a masked hole. That they fit is the caller's care: past the end nothing raises.
        """
        arch = self.arch
        position = positions.build(arch.parts.position, arch=arch, causal=self.causal, name="position")
        residual = residuals.build(arch.parts.residual, arch=arch, sublayer="stack", name="close")
        layer_N, embedding = self._layers(dropout)
        ctx = self._self_context(position, pos_BL, seg_BL, cache_len)
        xctx = self._cross_context(memory, pos_BL, seg_BL, cache_len) if self.crossing else None

        x_BLD = drop(position.embed(x_BLD, pos_BL), embedding, "embedding")
        stream = residual.open(constrain(x_BLD, "act_batch", "act_length", "act_width"))
        blocks = self._scanned()(arch, self.causal, self.crossing, name=LAYERS)
        stream, _ = blocks(stream, layer_N, ctx, xctx, None if memory is None else memory.x_BMD)
        return residual.close(stream)

    def _scanned(self):
        execution = self.arch.execution
        block = Block
        if execution.remat != "none":
            # Inside a scan XLA cannot undo the recomputation, so the barrier against it would only cost time.
            block = nn.remat(Block, policy=_REMAT[execution.remat], prevent_cse=execution.stack == "unroll")
        return nn.scan(
            block,
            variable_axes={"params": 0, "cache": 0},
            split_rngs={"params": False},
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.layers,
            unroll=self.layers if execution.stack == "unroll" else 1,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )

    def _layers(self, dropout) -> tuple[Layer, Layer]:
        """The layers' own data, stacked, and the same for the embedding below them."""
        if self.is_initializing():
            key = self.make_rng("params")
        elif dropout is not None:
            key = self.make_rng("dropout")
        else:
            return Layer(), Layer()
        key_N = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(self.layers))
        below = jax.random.fold_in(key, self.layers)
        if dropout is None:
            return Layer(key_N), Layer(below)
        rate_N = jnp.full(self.layers, dropout, jnp.float32)
        return Layer(key_N, rate_N), Layer(below, jnp.float32(dropout))

    def _self_context(self, position, pos_BL, seg_BL, cache_len) -> Context:
        kpos_BM, kseg_BM, cursor = pos_BL, seg_BL, None
        if cache_len is not None:
            at = self.variable("cache", "cursor", jnp.zeros, (), jnp.int32)
            kpos_BM = _append(self, "positions", pos_BL, at.value, cache_len)
            kseg_BM = _append(self, "segments", seg_BL, at.value, cache_len)
            cursor, at.value = at.value, at.value + pos_BL.shape[1]
        mask_B1LM = _same_segment(seg_BL, kseg_BM)
        if self.causal:
            # By true positions, which is right in packed rows and in a cache with holes alike.
            mask_B1LM &= (kpos_BM[:, None, :] <= pos_BL[:, :, None])[:, None]
        bias_BHLM = position.bias(pos_BL, kpos_BM)
        return Context(pos_BL, mask_B1LM, bias_BHLM, cursor, cache_len)

    def _cross_context(self, memory: Memory | None, pos_BL, seg_BL, cache_len) -> Context:
        if memory is None:
            mseg_BM = self.get_variable("cache", "memory")
        else:
            mseg_BM = memory.seg_BM
            if cache_len is not None:
                self.variable("cache", "memory", lambda: mseg_BM).value = mseg_BM
        return Context(pos_BL, _same_segment(seg_BL, mseg_BM), cache_len=cache_len)


def _same_segment(qseg_BL, kseg_BM):
    """mask_B1LM: True where a query and a key are of one segment that is not padding."""
    same_BLM = (qseg_BL[:, :, None] == kseg_BM[:, None, :]) & (kseg_BM > 0)[:, None, :]
    return same_BLM[:, None]


def _append(module: nn.Module, name: str, new_BL, cursor, cache_len: int):
    slots = module.variable("cache", name, jnp.zeros, (new_BL.shape[0], cache_len), new_BL.dtype)
    slots.value = jax.lax.dynamic_update_slice(slots.value, new_BL, (0, cursor))
    return slots.value
