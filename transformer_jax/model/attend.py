"""Attention itself, as a pure function: a plain reference and the fused kernels of `jax.nn`."""

import jax
import jax.numpy as jnp

from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def attend(
    q_BLHK: Float[Array, "B L H K"],
    k_BMGK: Float[Array, "B M G K"],
    v_BMGK: Float[Array, "B M G K"],
    *,
    mask_B1LM: Bool[Array, "B 1 L M"],
    bias_BHLM: Float[Array, "#B H L M"] | None = None,
    backend: str = "plain",
) -> Float[Array, "B L H K"]:
    """softmax(q k^T / sqrt(K) + bias) v (Vaswani et al. 2017, eq. 1), with H / G queries heads per key head.

    A query whose mask is all False gets a finite, meaningless mean (it is padding; its weight is 0).

    Args:
      mask_B1LM: True where the query may look.
      bias_BHLM: added to the scaled logits.
      backend: 'plain' (einsum, the reference), 'xla' or 'cudnn' (jax.nn.dot_product_attention).
    """
    if backend != "plain":
        bias = None if bias_BHLM is None else bias_BHLM.astype(q_BLHK.dtype)
        return jax.nn.dot_product_attention(q_BLHK, k_BMGK, v_BMGK, bias=bias, mask=mask_B1LM, implementation=backend)
    B, L, H, K = q_BLHK.shape
    G = k_BMGK.shape[2]
    q_BLGJK = q_BLHK.reshape(B, L, G, H // G, K)
    logits_BGJLM = jnp.einsum("BLGJK,BMGK->BGJLM", q_BLGJK, k_BMGK, preferred_element_type=jnp.float32)
    logits_BHLM = logits_BGJLM.reshape(B, H, L, -1) * K**-0.5
    if bias_BHLM is not None:
        logits_BHLM = logits_BHLM + bias_BHLM
    logits_BHLM = jnp.where(mask_B1LM, logits_BHLM, jnp.finfo(jnp.float32).min)
    weights_BGJLM = jax.nn.softmax(logits_BHLM).reshape(logits_BGJLM.shape).astype(v_BMGK.dtype)
    return jnp.einsum("BGJLM,BMGK->BLGJK", weights_BGJLM, v_BMGK).reshape(B, L, H, K)
