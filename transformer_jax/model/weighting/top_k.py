"""The largest logits only."""

import jax
import jax.numpy as jnp

from transformer_jax.model.weighting.base import Weighting, weightings
from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def top_k_softmax(
    logits_BHLM: Float[Array, "B H L M"], mask_B1LM: Bool[Array, "B 1 L M"], k: int
) -> Float[Array, "B H L M"]:
    """Softmax over the visible keys whose logits are not below the k-th largest; ties with it stay."""
    lowest = jnp.finfo(logits_BHLM.dtype).min
    shown_BHLM = jnp.where(mask_B1LM, logits_BHLM, lowest)
    # Sorted: `jax.lax.top_k` is a call that the partitioner does not look into, and gathers all logits of a mesh.
    rising_BHLM = jnp.sort(jax.lax.stop_gradient(shown_BHLM), axis=-1)
    least_BHL1 = rising_BHLM[..., -min(k, rising_BHLM.shape[-1]), None]
    return jax.nn.softmax(jnp.where(shown_BHLM >= least_BHL1, shown_BHLM, lowest))


@weightings.register("top_k")
class TopK(Weighting):
    """Softmax over the k largest logits of a query, all others 0 (Zhao et al. 2019, arXiv 1912.11637, sec. 2)."""

    k: int = 8

    cost = "a search of M logits per query and head, H L M weights in memory: no fused kernel"

    def problems(self) -> list[str]:
        return [] if self.k >= 1 else [f"k={self.k}: give at least 1"]

    def __call__(self, logits_BHLM, mask_B1LM, layer):
        return top_k_softmax(logits_BHLM, mask_B1LM, self.k)
