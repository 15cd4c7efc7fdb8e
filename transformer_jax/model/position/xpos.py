"""Rotary positions with a decay."""

import math

import jax.numpy as jnp

from transformer_jax.model.position.base import Rotary, positions
from transformer_jax.shapes import Array, Float, Int, checked

# What the factors may grow to: e^80, of the e^88 that float32 and bfloat16 hold. The rest is for the entries.
_LARGEST_LOG = 64 * math.log(3.5)


@checked
def decay(
    pos_BL: Int[Array, "B L"], pairs: int, *, scale_base: float, gamma: float, sign: int
) -> Float[Array, "B L I"]:
    """ζ_i^(± p / scale_base), ζ_i = (i / I + γ) / (1 + γ), for pairs i = 0 … I - 1."""
    zeta_I = (jnp.arange(pairs, dtype=jnp.float32) / pairs + gamma) / (1 + gamma)
    return jnp.exp(pos_BL[..., None] * (sign / scale_base * jnp.log(zeta_I)))


@positions.register("xpos")
class Xpos(Rotary):
    """rope with q_i ζ^(i/512), k_j ζ^(-j/512), ζ_t = (2t/K + γ)/(1 + γ) (Sun et al. 2022, arXiv 2212.10554, alg. 1).

    Logits thus hold ζ^((i - j) / 512): they fade with the distance to earlier keys. For an encoder the authors give
    no form; here it computes the same, and keys behind the query grow instead.

    Attributes:
      scale_base: positions over which the exponent grows by 1.
      gamma: γ, which keeps the fastest decay off 0.
    """

    scale_base: float = 512.0
    gamma: float = 0.4

    cost = "that of rope"

    @property
    def limit(self) -> int:
        """Where the factors of keys would leave float32: 32768 with the defaults."""
        return round(_LARGEST_LOG * self.scale_base / math.log(1 + 1 / self.gamma))

    def problems(self) -> list[str]:
        found = super().problems()
        for name in ("scale_base", "gamma"):
            if getattr(self, name) <= 0:
                found.append(f"xpos({name}={getattr(self, name)}): give a number above 0")
        longest = self.arch.dims.length
        if not found and self.limit < longest:
            found.append(f"xpos ends at {self.limit}, and rows are {longest} tokens long: give a larger scale_base")
        return found

    def scaled(self, x_BLHK, ctx, sign: int):
        """The rotated entries times their decay; both entries of a pair have the same."""
        turned_BLHK = self.turn(x_BLHK, ctx)
        half = self.n_rotated // 2
        scale_BLI = decay(ctx.qpos_BL, half, scale_base=self.scale_base, gamma=self.gamma, sign=sign)
        scale_BL1T = jnp.repeat(scale_BLI, 2, -1) if self.interleaved else jnp.tile(scale_BLI, (1, 1, 2))
        scale_BL1T = scale_BL1T[:, :, None]
        scaled, kept = turned_BLHK[..., : 2 * half] * scale_BL1T, turned_BLHK[..., 2 * half :]
        return jnp.concatenate([scaled.astype(x_BLHK.dtype), kept], -1)

    def query(self, q_BLHK, ctx):
        return self.scaled(q_BLHK, ctx, 1)

    def key(self, k_BLGK, ctx):
        return self.scaled(k_BLGK, ctx, -1)
