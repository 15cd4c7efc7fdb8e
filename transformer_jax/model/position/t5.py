"""T5's bucketed relative bias."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Int, checked

_MOST = 2**20  # buckets: their edges are computed one by one


@checked
def bucket(distance_BLM: Int[Array, "B L M"], *, buckets: int, max_distance: int, causal: bool) -> Int[Array, "B L M"]:
    """The bucket of key position minus query position.

    Both ways: half of the buckets for each sign. Half of what is left is exact; beyond it the width of a
    bucket grows with the logarithm, up to `max_distance`, after which all share the last. Causal stacks use
    all buckets for the past.
    """
    offset_BLM = jnp.zeros_like(distance_BLM)
    if causal:
        back_BLM = jnp.maximum(-distance_BLM, 0)
    else:
        buckets //= 2
        offset_BLM = jnp.where(distance_BLM > 0, buckets, 0)
        back_BLM = jnp.abs(distance_BLM)
    exact = buckets // 2
    # The thresholds are computed on the host in float64: a logarithm that rounds differently from device to
    # device would move the edges.
    steps = np.arange(1, buckets - exact)
    edges = np.ceil(exact * (max_distance / exact) ** (steps / (buckets - exact)) - 1e-9).astype(np.int32)
    far_BLM = exact + jnp.searchsorted(jnp.asarray(edges), back_BLM, side="right").astype(back_BLM.dtype)
    return offset_BLM + jnp.where(back_BLM < exact, back_BLM, far_BLM)


@positions.register("t5")
class T5(Position):
    """Logits + b_h[bucket(j - i)], one table for all layers (Raffel et al. 2020, sec. 2.1; code of T5).

    Distances beyond `max_distance` share a bucket, so it is defined at any length.
    """

    buckets: int = 32
    max_distance: int = 128

    cost = "H L M bias, once per stack"

    relative = True

    def problems(self) -> list[str]:
        least = 4 if self.causal else 8
        if least <= self.buckets <= _MOST and self.buckets % 4 == 0 and self.max_distance > self.buckets:
            return []
        return [
            f"t5(buckets={self.buckets}, max_distance={self.max_distance}): buckets must be a multiple of 4, "
            f"from {least} to {_MOST}, and max_distance larger"
        ]

    @nn.compact
    def bias(self, qpos_BL, kpos_BM):
        shape = (self.buckets, self.arch.dims.heads)
        table_UH = self.weight("table", shape, ("buckets", "heads"), nn.initializers.normal(0.02))
        bucket_BLM = bucket(
            kpos_BM[:, None, :] - qpos_BL[:, :, None],
            buckets=self.buckets,
            max_distance=self.max_distance,
            causal=self.causal,
        )
        return jnp.einsum("BLMH->BHLM", table_UH[bucket_BLM]).astype(jnp.float32)
