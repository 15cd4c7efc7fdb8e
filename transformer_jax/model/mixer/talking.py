"""Heads that mix their logits and their weights."""

import jax.numpy as jnp

from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.mixer.base import mixers
from transformer_jax.shapes import Array, Float, checked


@checked
def mix_heads(x_BHLM: Float[Array, "B H L M"], mix_HJ: Float[Array, "H J"]) -> Float[Array, "B J L M"]:
    """Σ_h x_h mix_hj, in float32."""
    return jnp.einsum("BHLM,HJ->BJLM", x_BHLM, mix_HJ.astype(jnp.float32))


@mixers.register("talking")
class TalkingHeads(Attention):
    """W = weights(A P_l) P_w over the heads' logits A (Shazeer et al. 2020, arXiv 2003.02436, sec. 3).

    Both matrices start as the identity, that is, as multi-head attention; biases belong to A.
    """

    cost = "2 H^2 parameters and 4 H^2 L M FLOPs, H L M weights in memory: no fused kernel"

    def flops(self, length, memory_length):
        return super().flops(length, memory_length) + 2.0 * self.products * self.heads**2 * length * memory_length

    def multiplied(self, name, length, memory_length):
        # Its own two matrices meet the pairs, which `flops` counts.
        return 0.0 if name in ("logits", "weights") else super().multiplied(name, length, memory_length)

    def weigh(self, logits_BHLM, mask_B1LM, layer):
        logits_BHLM = mix_heads(logits_BHLM, self.talk("logits"))
        return mix_heads(super().weigh(logits_BHLM, mask_B1LM, layer), self.talk("weights"))

    def talk(self, name: str):
        """One of the matrices, from head, to head."""
        return self.weight(name, (self.heads, self.heads), (None, "heads"), identity)


def identity(key, shape, dtype):
    """An initialiser."""
    return jnp.eye(*shape, dtype=dtype)
