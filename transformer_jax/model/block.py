"""`Block`: the one place where variants meet."""

import jax
from flax import linen as nn

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import SLOT, Context, Layer, constrain, drop
from transformer_jax.model.ffn import ffns
from transformer_jax.model.mixer import mixers
from transformer_jax.model.residual import residuals


class Block(nn.Module):
    """Self-attention, cross-attention where the stack has a memory, feed-forward; each inside its residual.

    Attributes:
      arch: as this layer sees it, without patterns.
      stack: 'encoder' or 'decoder'.
      causal: whether the stack is.
      crossing: whether the block reads a memory.
    """

    arch: Arch
    stack: str
    causal: bool
    crossing: bool

    @nn.compact
    def __call__(self, carry, layer: Layer, ctxs: dict[str, Context], xctx: Context | None, memory_BMD):
        """The next carry, and None (nothing is collected over layers), as `nn.scan` wants it.

        Args:
          carry: the residual stream, and the dict of what mixers carry from layer to layer.
          ctxs: self-attention's context for each position spec of the stack.
        """
        arch, parts = self.arch, self.arch.parts
        ctx = ctxs[parts.position]
        stream, carried = carry[0], dict(carry[1])
        mixer = mixers.build(
            parts.mixer, arch=arch, position=parts.position, causal=self.causal, crossing=False, name="attention"
        )
        ffn = ffns.build(parts.ffn, arch=arch, name="ffn")
        sublayers = {"attention": lambda x_BLD, layer: mixer(x_BLD, None, ctx=ctx, layer=layer, carried=carried)}
        if self.crossing:
            cross = mixers.build(
                parts.cross_mixer, arch=arch, position="none", causal=False, crossing=True, name="cross"
            )
            sublayers["cross"] = lambda x_BLD, layer: cross(x_BLD, memory_BMD, ctx=xctx, layer=layer, carried={})
        sublayers["ffn"] = lambda x_BLD, layer: ffn(x_BLD, ctx=ctx, layer=layer)

        for name, sublayer in sublayers.items():
            residual = residuals.build(
                parts.residual, arch=arch, sublayer=name, stack=self.stack, name=f"{name}_residual"
            )
            stream = residual(stream, _branch(sublayer, name, residual.scaled(layer)), layer=layer)
            stream = jax.tree.map(constrain_stream, stream)
        return (stream, carried), None


class Group(nn.Module):
    """One period of a pattern: a block per layer, each with its own specs.

    Attributes:
      block: `Block`, or what `nn.remat` made of it.
    """

    arch: Arch
    stack: str
    causal: bool
    crossing: bool
    block: type[Block]

    @nn.compact
    def __call__(self, carry, layer_P: Layer, ctxs: dict[str, Context], xctx: Context | None, memory_BMD):
        for slot in range(self.arch.period(self.stack)):
            block = self.block(self.arch.at(slot), self.stack, self.causal, self.crossing, name=f"{SLOT}{slot}")
            carry, _ = block(carry, jax.tree.map(lambda x, slot=slot: x[slot], layer_P), ctxs, xctx, memory_BMD)
        return carry, None


def constrain_stream(x):
    """One array of a residual stream, [B, L, …]."""
    return constrain(x, "act_batch", "act_length", *(None,) * (x.ndim - 3), "act_width")


def _branch(sublayer, name: str, layer: Layer):
    """The sublayer with dropout on its output (Vaswani et al. 2017, sec. 5.4)."""
    return lambda x_BLD: drop(sublayer(x_BLD, layer), layer, name)
