"""`Stack`: Block scanned over layers; what all layers share is computed once, here."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import LAYERS, Context, Layer, constrain, drop
from transformer_jax.model.block import Block, Group, constrain_stream
from transformer_jax.model.mixer import mixers
from transformer_jax.model.norm import norms
from transformer_jax.model.position import positions
from transformer_jax.model.residual import residuals
from transformer_jax.shapes import Array

# What the backward pass may keep; the rest is computed again.
_REMAT = {"full": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}


@struct.dataclass
class Memory:
    """An encoder's output, as a decoder reads it; segment 0 is padding."""

    x_BMD: Array
    pos_BM: Array
    seg_BM: Array


class Stack(nn.Module):
    """An encoder or a decoder: positions, blocks, and the end of the residual stream.

    Attributes:
      stack: 'encoder' or 'decoder'.
      causal: whether a position sees only itself and those before it. If not, and `parts_BL` is given, it also sees
        its segment's first part, and nothing else behind it; else all of its segment.
      crossing: whether the blocks read a memory.
    """

    arch: Arch
    stack: str
    causal: bool
    crossing: bool

    @nn.compact
    def __call__(
        self,
        x_BLD,
        pos_BL,
        seg_BL,
        memory: Memory | None = None,
        *,
        parts_BL=None,
        train=False,
        dropout=None,
        heads=None,
        cache_len=None,
    ):
        """y_BLD.

        Args:
          x_BLD: embeddings.
          pos_BL, seg_BL: int32 true positions and segments (0 is padding).
          parts_BL: int32, 0 on what is read both ways and 1 behind it; None where there is no such difference.
          memory: what the blocks read if `crossing`; None once it has been cached.
          train: whether this is a training step, with the randomness that variants bring.
          dropout: rate, which may be traced; None for none.
          heads: for 'attention' and 'cross', factors [N, H] of the heads' outputs; None for none.
          cache_len: slots of the cache, None for none. All L entries are appended at the shared cursor;
            padding stays a masked hole. That they fit is the caller's care: past the end nothing raises.
        """
        arch = self.arch.of(self.stack)
        specs = arch.parts.distinct("position")
        schemes = {
            spec: positions.build(
                spec, arch=arch, causal=self.causal, name=f"position{i}" if len(specs) > 1 else "position"
            )
            for i, spec in enumerate(specs)
        }
        residual = residuals.build(arch.parts.residual, arch=arch, sublayer="stack", stack=self.stack, name="close")
        layer_N, embedding = self._layers(train, dropout, heads)
        ctx = self._self_context(pos_BL, seg_BL, parts_BL, cache_len)
        xctx = self._cross_context(memory, ctx) if self.crossing else None
        ctxs = {spec: _with_positions(scheme, ctx) for spec, scheme in schemes.items()}

        for scheme in schemes.values():
            x_BLD = scheme.embed(x_BLD, pos_BL)
        x_BLD = norms.build(arch.parts.embedding_norm, arch=arch, name="embedding_norm")(x_BLD)
        stream = residual.open(constrain_stream(drop(x_BLD, embedding, "embedding")))
        carried = {}
        for spec in arch.parts.distinct("mixer"):
            carried |= mixers.lookup(spec).open(arch, x_BLD)
        memory_BMD = None if memory is None else memory.x_BMD
        (stream, _), _ = self._scanned()((stream, carried), layer_N, ctxs, xctx, memory_BMD)
        return residual.close(stream)

    def _scanned(self):
        arch = self.arch.of(self.stack)
        period = arch.period(self.stack)
        execution = arch.execution
        block = Block
        if execution.remat != "none":
            # Inside a scan XLA cannot undo the recomputation, so the barrier against it would only cost time.
            block = nn.remat(Block, policy=_REMAT[execution.remat], prevent_cse=execution.stack == "unroll")
        if execution.stack == "split":
            return Group(arch, self.stack, self.causal, self.crossing, block, name=LAYERS)
        length = arch.depth(self.stack) // period
        scanned = nn.scan(
            block if period == 1 else Group,
            variable_axes={"params": 0, "cache": 0, "losses": 0, "metrics": 0},
            split_rngs={"params": False},
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
            length=length,
            unroll=length if execution.stack == "unroll" else 1,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        own = () if period == 1 else (block,)
        return scanned(arch if own else arch.at(0), self.stack, self.causal, self.crossing, *own, name=LAYERS)

    def _layers(self, train: bool, dropout, heads) -> tuple[Layer, Layer]:
        """The layers' own data, stacked as the scan takes them, and the same for the embedding below them."""
        depth, period = self.arch.depth(self.stack), self.arch.of(self.stack).period(self.stack)
        index_N = jnp.arange(depth)
        layer_N, below = Layer(index_N, heads=heads, training=train), Layer(jnp.int32(-1), training=train)
        if self.is_initializing() or train:
            key = self.make_rng("params" if self.is_initializing() else "dropout")
            layer_N = layer_N.replace(key=jax.vmap(jax.random.fold_in, (None, 0))(key, index_N))
            below = below.replace(key=jax.random.fold_in(key, depth))
        if dropout is not None and not self.is_initializing():
            layer_N = layer_N.replace(dropout=jnp.full(depth, dropout, jnp.float32))
            below = below.replace(dropout=jnp.float32(dropout))
        if self.arch.execution.stack != "split" and period > 1:
            layer_N = jax.tree.map(lambda x: x.reshape(depth // period, period, *x.shape[1:]), layer_N)
        return layer_N, below

    def _self_context(self, pos_BL, seg_BL, parts_BL, cache_len) -> Context:
        kpos_BM, kseg_BM, kparts_BM, cursor = _of_keys(pos_BL), _of_keys(seg_BL), _of_keys(parts_BL), None
        if cache_len is not None:
            at = self.variable("cache", "cursor", jnp.zeros, (), jnp.int32)
            kpos_BM = _append(self, "positions", pos_BL, at.value, cache_len)
            kseg_BM = _append(self, "segments", seg_BL, at.value, cache_len)
            if parts_BL is not None:
                kparts_BM = _append(self, "parts", parts_BL, at.value, cache_len)
            cursor, at.value = at.value, at.value + pos_BL.shape[1]
        mask_B1LM = _same_segment(seg_BL, kseg_BM)
        # By true positions, which is right in packed rows and in a cache with holes alike.
        before_BLM = kpos_BM[:, None, :] <= pos_BL[:, :, None]
        if self.causal:
            mask_B1LM &= before_BLM[:, None]
        elif parts_BL is not None:
            mask_B1LM &= (before_BLM | (kparts_BM == 0)[:, None, :])[:, None]
        return Context(
            pos_BL,
            seg_BL,
            kpos_BM,
            kseg_BM,
            _of_pairs(mask_B1LM),
            qparts_BL=parts_BL,
            cursor=cursor,
            cache_len=cache_len,
            ordered=self.causal and cache_len is None,
        )

    def _cross_context(self, memory: Memory | None, own: Context) -> Context:
        if memory is None:
            mpos_BM, mseg_BM = self.get_variable("cache", "memory")
        else:
            mpos_BM, mseg_BM = _of_keys(memory.pos_BM), _of_keys(memory.seg_BM)
            if own.cache_len is not None:
                self.variable("cache", "memory", lambda: (mpos_BM, mseg_BM)).value = (mpos_BM, mseg_BM)
        mask_B1LM = _of_pairs(_same_segment(own.qseg_BL, mseg_BM))
        return Context(own.qpos_BL, own.qseg_BL, mpos_BM, mseg_BM, mask_B1LM, own=own, cache_len=own.cache_len)


def _with_positions(scheme, ctx: Context) -> Context:
    """The context with what a position scheme computes once for all layers."""
    bias_BHLM = scheme.bias(ctx.qpos_BL, ctx.kpos_BM)
    return ctx.replace(bias_BHLM=None if bias_BHLM is None else _of_pairs(bias_BHLM), once=scheme.once(ctx))


def _of_keys(x_BM):
    """Numbers of the keys, all on each device of the length; None stays None."""
    return None if x_BM is None else constrain(x_BM, "act_batch", "act_keys")


def _of_pairs(x_BHLM):
    """Of each query's pairs with all keys; where the query is."""
    heads = None if x_BHLM.shape[1] == 1 else "act_heads"
    return constrain(x_BHLM, "act_batch", heads, "act_length", "act_keys")


def _same_segment(qseg_BL, kseg_BM):
    """mask_B1LM: True where a query and a key are of one segment that is not padding."""
    same_BLM = (qseg_BL[:, :, None] == kseg_BM[:, None, :]) & (kseg_BM > 0)[:, None, :]
    return same_BLM[:, None]


def _append(module: nn.Module, name: str, new_BL, cursor, cache_len: int):
    slots = module.variable("cache", name, jnp.zeros, (new_BL.shape[0], cache_len), new_BL.dtype)
    slots.value = jax.lax.dynamic_update_slice(slots.value, new_BL, (0, cursor))
    return slots.value
