"""`Block`: the one place where variants meet."""

import jax
from flax import linen as nn

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import Context, Layer, constrain, drop
from transformer_jax.model.ffn import ffns
from transformer_jax.model.mixer import mixers
from transformer_jax.model.residual import residuals


class Block(nn.Module):
    """Self-attention, cross-attention where the stack has a memory, feed-forward; each inside its residual."""

    arch: Arch
    causal: bool
    crossing: bool

    @nn.compact
    def __call__(self, stream, layer: Layer, ctx: Context, xctx: Context | None, memory_BMD):
        """The next stream, and None (nothing is collected over layers), as `nn.scan` wants it."""
        arch, parts = self.arch, self.arch.parts
        mixer = mixers.build(
            parts.mixer,
            arch=arch,
            position=parts.position,
            causal=self.causal,
            crossing=False,
            name="attention",
        )
        sublayers = {"attention": lambda x_BLD: mixer(x_BLD, None, ctx=ctx, layer=layer)}
        if self.crossing:
            cross = mixers.build(
                parts.cross_mixer, arch=arch, position="none", causal=False, crossing=True, name="cross"
            )
            sublayers["cross"] = lambda x_BLD: cross(x_BLD, memory_BMD, ctx=xctx, layer=layer)
        ffn = ffns.build(parts.ffn, arch=arch, name="ffn")
        sublayers["ffn"] = lambda x_BLD: ffn(x_BLD, layer=layer)

        for name, sublayer in sublayers.items():
            residual = residuals.build(parts.residual, arch=arch, sublayer=name, name=f"{name}_residual")
            stream = residual(stream, _dropped(sublayer, name, layer), layer=layer)
            stream = jax.tree.map(lambda x: constrain(x, "act_batch", "act_length", "act_width"), stream)
        return stream, None


def _dropped(sublayer, name: str, layer: Layer):
    """The sublayer with dropout on its output (Vaswani et al. 2017, sec. 5.4)."""
    return lambda x_BLD: drop(sublayer(x_BLD), layer, name)
