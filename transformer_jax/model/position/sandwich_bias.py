"""Sandwich: the bias that sinusoidal positions would give by themselves."""

import jax.numpy as jnp

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def wave_products(distance_R: Int[Array, " R"], size: int) -> Float[Array, " R"]:
    """Σ_{k=1..d/2} cos(r / 10000^(2k/d)) - d/2: the inner product of two sinusoidal positions, 0 at distance 0."""
    k_I = jnp.arange(1, size // 2 + 1, dtype=jnp.float32)
    angle_RI = distance_R[:, None].astype(jnp.float32) * 1e4 ** (-2 * k_I / size)
    return jnp.cos(angle_RI).sum(-1) - size // 2


@checked
def sandwich(
    qpos_BL: Int[Array, "B L"], kpos_BM: Int[Array, "B M"], *, heads: int, size: int
) -> Float[Array, "B H L M"]:
    """`wave_products` / (8h / H) for heads h = 1..H.

    A segment's distances are smaller than the number of its slots, so each is computed once; pairs that are
    masked may get any.
    """
    slots = kpos_BM.shape[1]
    distance_BLM = jnp.abs(qpos_BL[:, :, None] - kpos_BM[:, None, :])
    bias_BLM = wave_products(jnp.arange(slots), size)[jnp.minimum(distance_BLM, slots - 1)]
    compression_H = 8 * jnp.arange(1, heads + 1, dtype=jnp.float32) / heads
    return bias_BLM[:, None] / compression_H[:, None, None]


@positions.register("sandwich_bias")
class SandwichBias(Position):
    """Logits + H/(8h) (Σ_k cos((i-j) / 10000^(2k/d)) - d/2), h = 1..H (Chi et al. 2023, arXiv 2212.10554).

    No parameters. The cosines make it symmetric; the authors use it in a causal stack, an encoder's reading both
    ways is ours.

    Attributes:
      size: d, the number of waves twice; None is the paper's 128.
    """

    size: int | None = None

    relative = True
    cost = "H L M bias, once per stack"

    @property
    def waves(self) -> int:
        return 128 if self.size is None else self.size

    def problems(self) -> list[str]:
        if self.waves > 0 and self.waves % 2 == 0:
            return []
        return [f"sandwich_bias(size={self.size}): give an even number above 0, or None for 128"]

    def bias(self, qpos_BL, kpos_BM):
        return sandwich(qpos_BL, kpos_BM, heads=self.arch.dims.heads, size=self.waves)
