"""The interface of a position scheme, hooks each of which does nothing by default, and rotary schemes' shared form."""

import jax.numpy as jnp

from transformer_jax.model.base import Context, Layer, Part
from transformer_jax.registry import Registry
from transformer_jax.shapes import Array, Float, Int, checked

positions = Registry("position", "transformer_jax.model.position", base_fields=("arch", "causal"))

# Hooks that a mixer must call for the scheme to have its effect.
MIXER_HOOKS = ("bias", "once", "query", "key", "scores", "values")


class Position(Part):
    """A scheme overrides the hooks it needs and no others.

    Two instances are made from one spec: one in the stack, whose `embed`, `bias` and `once` are called once per
    forward pass, and one in each self-attention, whose other hooks are called per layer. Positions are true
    positions, 0, 1, 2, … inside a segment; they are handed in, never counted.

    Attributes:
      causal: whether the stack is (a decoder) or looks both ways (an encoder).
      relative: class attribute: only differences of positions matter, so that a shift changes nothing.
    """

    causal: bool

    relative = False

    @property
    def limit(self) -> int | None:
        """Positions from here on are undefined; None if it is defined at any length."""
        return None

    def embed(self, x_BLD, pos_BL):
        """The embeddings with positions added."""
        return x_BLD

    def bias(self, qpos_BL, kpos_BM):
        """float32 bias_BHLM on the attention logits, which may depend on positions but not on content."""
        return None

    def once(self, ctx: Context):
        """A pytree that all layers share, handed to the layers as `ctx.once`."""
        return None

    def query(self, q_BLHK, ctx: Context):
        """Queries with positions worked in."""
        return q_BLHK

    def key(self, k_BLGK, ctx: Context):
        """The keys of the positions `ctx.qpos_BL` with these worked in; cached as they are returned."""
        return k_BLGK

    def scores(self, q_BLHK, k_BMHK, ctx: Context, layer: Layer):
        """float32 term BHLM of the logits, scaled by the scheme itself; may depend on content.

        Args:
          q_BLHK, k_BMHK: as `query` and `key` returned them; one key head per query head.
        """
        return None

    def values(self, weights_BHLM, ctx: Context, layer: Layer):
        """heads_BLHK to add to the attention's output."""
        return None

    def flops(self, length: int, memory_length: int, rows: int) -> float:
        """FLOPs of the matrix products that `query`, `key`, `scores` and `values` add to one layer.

        Of a row's forward pass; what is computed once for a batch is shared out over its `rows`. Products with the
        scheme's own parameters are counted here and nowhere else.
        """
        return 0.0

    def flops_once(self, length: int, memory_length: int, rows: int) -> float:
        """The same of `embed`, `bias` and `once`, which run once per stack."""
        return 0.0

    def hooks(self) -> set[str]:
        """Those of MIXER_HOOKS that the scheme overrides."""
        return {name for name in MIXER_HOOKS if getattr(type(self), name) is not getattr(Position, name)}


@checked
def rotate(
    x_BLHK: Float[Array, "B L H K"], pos_BL: Float[Array, "B L"], rate_I: Float[Array, " I"], *, interleaved: bool
) -> Float[Array, "B L H K"]:
    """Turns pair i of the first 2 I entries of each head by the angle p * rate_i, computed in float32.

    A pair is (x_2i, x_2i+1) if interleaved (the paper, GPT-J), else (x_i, x_(i + I)) (GPT-NeoX, Llama).
    """
    half = rate_I.shape[0]
    angle_BL1I = pos_BL[..., None, None] * rate_I
    cos_BL1I, sin_BL1I = jnp.cos(angle_BL1I), jnp.sin(angle_BL1I)
    turned, kept = x_BLHK[..., : 2 * half].astype(jnp.float32), x_BLHK[..., 2 * half :]
    if interleaved:
        a_BLHI, b_BLHI = turned[..., 0::2], turned[..., 1::2]
    else:
        a_BLHI, b_BLHI = turned[..., :half], turned[..., half:]
    first = a_BLHI * cos_BL1I - b_BLHI * sin_BL1I
    second = b_BLHI * cos_BL1I + a_BLHI * sin_BL1I
    if interleaved:
        turned = jnp.stack([first, second], -1).reshape(turned.shape)
    else:
        turned = jnp.concatenate([first, second], -1)
    return jnp.concatenate([turned.astype(x_BLHK.dtype), kept], -1)


def geometric_rates(theta: float, n_rotated: int) -> Float[Array, " I"]:
    """theta^(-2i / n_rotated) for i = 0 … n_rotated / 2 - 1 (Su et al. 2021, sec. 3.2.2)."""
    half = n_rotated // 2
    return theta ** (-jnp.arange(half, dtype=jnp.float32) / half)


class Rotary(Position):
    """Rotations of pairs by p * rate_i. A variant says its `rates`, and if need be how it scales queries and keys.

    Attributes:
      theta: base of the rates.
      fraction: of each head, how much is rotated (GPT-J rotates 64 of 256).
      interleaved: pairs are neighbours, as in the paper, else the two halves, as in GPT-NeoX and Llama. The
        two differ by a fixed permutation.
    """

    theta: float = 1e4
    fraction: float = 1.0
    interleaved: bool = False

    relative = True
    options_shown_at = "rope"  # in the catalogue

    @property
    def n_rotated(self) -> int:
        return int(self.arch.dims.head_size * self.fraction)

    def problems(self) -> list[str]:
        if self.theta <= 0:
            return [f"theta={self.theta}: give a number above 0"]
        if self.n_rotated > 0 and self.n_rotated % 2 == 0 and 0 < self.fraction <= 1:
            return []
        K = self.arch.dims.head_size
        return [
            f"rope turns pairs: {self.fraction} of a head of {K} is {self.n_rotated} entries, "
            "and it must be an even number above 0"
        ]

    def rates(self, ctx: Context) -> Float[Array, " I"]:
        """Angle per position of each pair."""
        return geometric_rates(self.theta, self.n_rotated)

    def turn(self, x_BLHK, ctx: Context):
        """Both hooks of a plain rotation."""
        pos_BL = ctx.qpos_BL.astype(jnp.float32)
        return rotate(x_BLHK, pos_BL, self.rates(ctx), interleaved=self.interleaved)

    def query(self, q_BLHK, ctx):
        return self.turn(q_BLHK, ctx)

    def key(self, k_BLGK, ctx):
        return self.turn(k_BLGK, ctx)


def distance(ctx: Context) -> Int[Array, "B L M"]:
    """Key position minus query position."""
    return ctx.kpos_BM[:, None, :] - ctx.qpos_BL[:, :, None]
