"""Kernelised distances: penalties with a learned shape."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Float, checked

# The authors' code keeps both parameters at or above this.
_SMALLEST = 1e-2


@checked
def log_kernel(
    distance_B1LM: Float[Array, "B 1 L M"], r1_H: Float[Array, " H"], r2_H: Float[Array, " H"]
) -> Float[Array, "B H L M"]:
    """-r1 log(1 + r2 |r|)."""
    r1_H11, r2_H11 = r1_H[:, None, None], r2_H[:, None, None]
    return -r1_H11 * jnp.log1p(r2_H11 * distance_B1LM)


@checked
def power_kernel(
    distance_B1LM: Float[Array, "B 1 L M"], r1_H: Float[Array, " H"], r2_H: Float[Array, " H"]
) -> Float[Array, "B H L M"]:
    """-r1 |r|^r2."""
    r1_H11, r2_H11 = r1_H[:, None, None], r2_H[:, None, None]
    # 0^r2 is 0, but its derivative by r2 would be 0 * log(0).
    positive_B1LM = jnp.where(distance_B1LM > 0, distance_B1LM, 1.0)
    return jnp.where(distance_B1LM > 0, -r1_H11 * positive_B1LM**r2_H11, 0.0)


# Each kernel with the upper ends of the ranges that r1 and r2 start in, and the largest r2.
_KERNELS = {"log": (log_kernel, (2.0, 1.0), jnp.inf), "power": (power_kernel, (1.0, 2.0), 2.0)}


def clamped(x_H, largest: float):
    """Clipped, with the gradient passed on as if not, as in the authors' code: no head is lost at the edge."""
    return x_H + jax.lax.stop_gradient(jnp.clip(x_H, _SMALLEST, largest) - x_H)


@positions.register("kerple")
class Kerple(Position):
    """Logits - r1 log(1 + r2 |i - j|), or - r1 |i - j|^r2 (Chi et al. 2022, arXiv 2205.09921, sec. 4).

    r1 and r2 > 0 are learned for each head, one pair for all layers. The kernels are symmetric; the authors use
    them in a causal stack, an encoder's reading both ways is ours.

    Attributes:
      kind: 'log', their best, or 'power'.
    """

    kind: Literal["log", "power"] = "log"

    relative = True
    cost = "H L M bias, once per stack"

    @nn.compact
    def bias(self, qpos_BL, kpos_BM):
        kernel, starts, largest = _KERNELS[self.kind]
        H = self.arch.dims.heads
        r1_H, r2_H = (
            self.weight(name, (H,), ("heads",), nn.initializers.uniform(end)).astype(jnp.float32)
            for name, end in zip(("r1", "r2"), starts, strict=True)
        )
        distance_B1LM = jnp.abs(qpos_BL[:, None, :, None] - kpos_BM[:, None, None, :]).astype(jnp.float32)
        return kernel(distance_B1LM, clamped(r1_H, jnp.inf), clamped(r2_H, largest))
