"""The steps of attention as pure functions."""

import jax
import jax.numpy as jnp

from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def scaled_logits(
    q_BLHK: Float[Array, "B L H K"], k_BMGK: Float[Array, "B M G K"], scale: float | None = None
) -> Float[Array, "B H L M"]:
    """q k^T times `scale`, or 1 / sqrt(K), in float32."""
    B, L, H, K = q_BLHK.shape
    G = k_BMGK.shape[2]
    q_BLGJK = q_BLHK.reshape(B, L, G, H // G, K)
    logits_BGJLM = jnp.einsum("BLGJK,BMGK->BGJLM", q_BLGJK, k_BMGK, preferred_element_type=jnp.float32)
    return logits_BGJLM.reshape(B, H, L, -1) * (K**-0.5 if scale is None else scale)


@checked
def softmax(logits_BHLM: Float[Array, "B H L M"], mask_B1LM: Bool[Array, "B 1 L M"]) -> Float[Array, "B H L M"]:
    """Over the keys that the mask shows."""
    return jax.nn.softmax(jnp.where(mask_B1LM, logits_BHLM, jnp.finfo(logits_BHLM.dtype).min))


@checked
def average(weights_BHLM: Float[Array, "B H L M"], v_BMGK: Float[Array, "B M G K"]) -> Float[Array, "B L H K"]:
    """Σ_m w_m v_m, in the dtype of the values."""
    B, H, L, M = weights_BHLM.shape
    G = v_BMGK.shape[2]
    weights_BGJLM = weights_BHLM.reshape(B, G, H // G, L, M).astype(v_BMGK.dtype)
    return jnp.einsum("BGJLM,BMGK->BLGJK", weights_BGJLM, v_BMGK).reshape(B, L, H, -1)
