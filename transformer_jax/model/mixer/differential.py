"""Differences of two attention maps."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.mixer.base import mixers
from transformer_jax.model.norm import norms
from transformer_jax.shapes import Array, Float, checked


@checked
def differences(weights_BHLM: Float[Array, "B H L M"], factor: Float[Array, ""]) -> Float[Array, "B H L M"]:
    """A_2g - factor A_2g+1, in both places of pair g: once for each half of the values."""
    B, H, L, M = weights_BHLM.shape
    pairs_BGPLM = weights_BHLM.reshape(B, H // 2, 2, L, M)
    difference_BGLM = pairs_BGPLM[:, :, 0] - factor * pairs_BGPLM[:, :, 1]
    return jnp.repeat(difference_BGLM, 2, axis=1)


@mixers.register("differential")
class Differential(Attention):
    """head_g = (1 - λ_0) N((A_2g - λ A_2g+1) [v_2g v_2g+1]) (Ye et al. 2024, arXiv 2410.05258, eq. 1-3).

    H maps make H / 2 heads, whose values have size 2 K; N is RMSNorm over them, and
    λ = exp(λ_q1 λ_k1) - exp(λ_q2 λ_k2) + λ_0. Factors of heads (`layer.heads`) act on the halves 2g and 2g + 1.

    Attributes:
      init: λ_0; None for the paper's 0.8 - 0.6 exp(-0.3 l), l = 0 for the lowest layer.
    """

    init: float | None = None

    cost = "6 K parameters, H L M weights in memory: no fused kernel"

    def problems(self):
        found = super().problems()
        if self.heads % 2:
            found.append(f"differential heads are pairs: model.heads={self.heads} must be even")
        if self.kv_heads is not None:
            found.append(f"kv_heads={self.kv_heads}: each map of a pair needs keys of its own; give None")
        if self.kept is not None:
            found.append(f"kept={self.kept}: a map of a pair cannot be pruned alone; give None")
        if self.init is not None and not 0 <= self.init < 1:
            found.append(f"init={self.init}: give 0 or more, below 1, or None for the paper's rule")
        return found

    def weigh(self, logits_BHLM, mask_B1LM, layer):
        weights_BHLM = super().weigh(logits_BHLM, mask_B1LM, layer)
        first, second = (
            jnp.exp(jnp.dot(self.part(f"lambda_q{i}", layer), self.part(f"lambda_k{i}", layer))) for i in (1, 2)
        )
        return differences(weights_BHLM, first - second + self.start(layer))

    def finish(self, heads_BLHK, x_BLD, layer):
        B, L, H, K = heads_BLHK.shape
        norm = norms.build("rmsnorm(eps=1e-5)", arch=self.arch, name="norm")
        pairs_BLGK = norm(heads_BLHK.reshape(B, L, H // 2, 2 * K))
        return (pairs_BLGK * (1.0 - self.start(layer)).astype(pairs_BLGK.dtype)).reshape(B, L, H, K)

    def start(self, layer):
        """λ_0, a float32 scalar."""
        if self.init is not None:
            return jnp.float32(self.init)
        return 0.8 - 0.6 * jnp.exp(-0.3 * layer.index.astype(jnp.float32))

    def part(self, name: str, layer):
        """One of the vectors that λ is made of."""
        vector_K = self.weight(name, (self.arch.dims.head_size,), ("head_size",), nn.initializers.normal(0.1), layer)
        return vector_K.astype(jnp.float32)
