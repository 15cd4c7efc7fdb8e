"""Rotary positions."""

import jax.numpy as jnp

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def rotate(
    x_BLHK: Float[Array, "B L H K"],
    pos_BL: Int[Array, "B L"],
    *,
    theta: float,
    n_rotated: int,
    interleaved: bool,
) -> Float[Array, "B L H K"]:
    """Turns pair i of the first `n_rotated` entries of each head by the angle p * theta^(-2i / n_rotated).

    A pair is (x_2i, x_2i+1) if interleaved (the paper, GPT-J), else (x_i, x_(i + n_rotated/2)) (GPT-NeoX, Llama).
    """
    half = n_rotated // 2
    rate_I = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_BL1I = pos_BL[..., None, None].astype(jnp.float32) * rate_I
    cos_BL1I, sin_BL1I = jnp.cos(angle_BL1I), jnp.sin(angle_BL1I)
    turned, kept = x_BLHK[..., :n_rotated].astype(jnp.float32), x_BLHK[..., n_rotated:]
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


@positions.register("rope")
class Rope(Position):
    """(R_m q)^T (R_n k) = q^T R_(n-m) k, R a rotation of pairs by p * theta^(-2i/K) (Su et al. 2021, eq. 14-16).

    `fraction` of each head is rotated (GPT-J rotates 64 of 256); `interleaved` pairs neighbours as the
    paper does, else the two halves as GPT-NeoX and Llama do. The two differ by a fixed permutation.
    """

    theta: float = 1e4
    fraction: float = 1.0
    interleaved: bool = False

    @property
    def n_rotated(self) -> int:
        return int(self.arch.dims.head_size * self.fraction)

    def problems(self) -> list[str]:
        if self.theta <= 0:
            return [f"rope(theta={self.theta}): give a number above 0"]
        if self.n_rotated > 0 and self.n_rotated % 2 == 0 and 0 < self.fraction <= 1:
            return []
        K = self.arch.dims.head_size
        return [
            f"rope turns pairs: {self.fraction} of a head of {K} is {self.n_rotated} entries, "
            "and it must be an even number above 0"
        ]

    def rotate(self, x_BLHK, pos_BL):
        return rotate(x_BLHK, pos_BL, theta=self.theta, n_rotated=self.n_rotated, interleaved=self.interleaved)
