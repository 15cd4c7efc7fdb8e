"""Attention with linear biases."""

import math

import jax.numpy as jnp

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Float, Int, checked


def slopes(heads: int) -> list[float]:
    """m_h = 2^(-8h/H) for h = 1..H; for an H that is no power of two, the authors' interpolation.

    That is: the slopes of the next lower power of two P, then every second slope of 2P (the published
    code, github.com/ofirpress/attention_with_linear_biases).
    """
    power = 2 ** math.floor(math.log2(heads))
    first = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    rest = [2.0 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return (first + rest)[:heads]


@checked
def alibi_bias(
    qpos_BL: Int[Array, "B L"], kpos_BM: Int[Array, "B M"], slopes_H: Float[Array, " H"]
) -> Float[Array, "B H L M"]:
    """-m_h * |i - j|."""
    distance_BLM = jnp.abs(qpos_BL[:, :, None] - kpos_BM[:, None, :]).astype(jnp.float32)
    return -slopes_H[:, None, None] * distance_BLM[:, None]


@positions.register("alibi")
class Alibi(Position):
    """Logits - m_h |i - j|, m_h = 2^(-8h/H) (Press et al. 2022, sec. 3); symmetric where attention looks both ways."""

    cost = "H L M bias, once per stack"

    relative = True

    def bias(self, qpos_BL, kpos_BM):
        slopes_H = jnp.asarray(slopes(self.arch.dims.heads), jnp.float32)
        return alibi_bias(qpos_BL, kpos_BM, slopes_H)
