"""Attention in blocks of queries."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.model.kernel.base import Kernel, kernels


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend(q_BLGJK, k_BMGK, v_BMGK, mask_B1LM, bias_BGJLM, scale: float):
    """o = Σ p v / Σ p, p = exp(scale q k - max): divided after the sum, K numbers a query in place of M.

    The gradient of the logits is p (dp - δ), with δ = do · o (Dao et al. 2022, arXiv 2205.14135, app. B.2): it reads no
    sum over keys.
    """
    return _forward(q_BLGJK, k_BMGK, v_BMGK, mask_B1LM, bias_BGJLM, scale)[0]


def _forward(q_BLGJK, k_BMGK, v_BMGK, mask_B1LM, bias_BGJLM, scale):
    q_BLGJK = q_BLGJK * jnp.asarray(scale, q_BLGJK.dtype)
    logits_BGJLM = jnp.einsum("BLGJK,BMGK->BGJLM", q_BLGJK, k_BMGK, preferred_element_type=jnp.float32)
    if bias_BGJLM is not None:
        logits_BGJLM += bias_BGJLM
    logits_BGJLM = jnp.where(mask_B1LM[:, None], logits_BGJLM, jnp.finfo(jnp.float32).min)
    p_BGJLM = jnp.exp(logits_BGJLM - logits_BGJLM.max(-1, keepdims=True))
    sum_BLGJ1 = jnp.einsum("BGJLM->BLGJ", p_BGJLM)[..., None]
    p_BGJLM = p_BGJLM.astype(v_BMGK.dtype)
    o_BLGJK = jnp.einsum("BGJLM,BMGK->BLGJK", p_BGJLM, v_BMGK, preferred_element_type=jnp.float32) / sum_BLGJ1
    o_BLGJK = o_BLGJK.astype(v_BMGK.dtype)
    # Of the bias, whose values are not read again, how many rows it has and its dtype.
    bias_B0 = None if bias_BGJLM is None else jnp.zeros((bias_BGJLM.shape[0], 0), bias_BGJLM.dtype)
    return o_BLGJK, (q_BLGJK, k_BMGK, v_BMGK, p_BGJLM, sum_BLGJ1, o_BLGJK, bias_B0)


def _backward(scale, kept, do_BLGJK):
    q_BLGJK, k_BMGK, v_BMGK, p_BGJLM, sum_BLGJ1, o_BLGJK, bias_B0 = kept
    do_BLGJK = (do_BLGJK.astype(jnp.float32) / sum_BLGJ1).astype(do_BLGJK.dtype)
    dv_BMGK = jnp.einsum("BGJLM,BLGJK->BMGK", p_BGJLM, do_BLGJK)
    dp_BGJLM = jnp.einsum("BLGJK,BMGK->BGJLM", do_BLGJK, v_BMGK, preferred_element_type=jnp.float32)
    delta_BGJL = jnp.einsum("BLGJK,BLGJK->BGJL", do_BLGJK, o_BLGJK, preferred_element_type=jnp.float32)
    ds_BGJLM = p_BGJLM * (dp_BGJLM - delta_BGJL[..., None])
    dbias_BGJLM = None
    if bias_B0 is not None:
        is_shared = len(bias_B0) != len(ds_BGJLM)
        dbias_BGJLM = (ds_BGJLM.sum(0, keepdims=True) if is_shared else ds_BGJLM).astype(bias_B0.dtype)
    ds_BGJLM = ds_BGJLM.astype(q_BLGJK.dtype)
    dq_BLGJK = jnp.einsum("BGJLM,BMGK->BLGJK", ds_BGJLM, k_BMGK) * jnp.asarray(scale, q_BLGJK.dtype)
    dk_BMGK = jnp.einsum("BGJLM,BLGJK->BMGK", ds_BGJLM, q_BLGJK)
    return dq_BLGJK, dk_BMGK, dv_BMGK, None, dbias_BGJLM


attend.defvjp(_forward, _backward)


@kernels.register("blocks")
@dataclass(frozen=True)
class Blocks(Kernel):
    """Queries in blocks; where rows are causal, each block reads the keys up to its own end, half of all pairs in all.

    Attributes:
      count: blocks of a causal row; others are read whole.
      least: positions in a block, at least.
    """

    count: int = 4
    least: int = 64

    def problems(self, config, platform):
        found = [
            f"{name}={getattr(self, name)}: give 1 or more" for name in ("count", "least") if getattr(self, name) < 1
        ]
        if config.mesh.context != 1:
            found.append(f"mesh.context is {config.mesh.context}, not 1: blocks would lie across devices")
        return found

    def __call__(self, q_BLHK, k_BMGK, v_BMGK, *, mask_B1LM, bias_BHLM=None, scale=None, ordered=False):
        B, L, H, K = q_BLHK.shape
        G = k_BMGK.shape[2]
        q_BLGJK = q_BLHK.reshape(B, L, G, H // G, K)
        bias = None if bias_BHLM is None else bias_BHLM.reshape(-1, G, H // G, *bias_BHLM.shape[2:])
        size = max(self.least, -(-L // self.count)) if ordered else L
        found = []
        for start in range(0, L, size):
            rows, keys = slice(start, start + size), slice(None if not ordered else start + size)
            found.append(
                attend(
                    q_BLGJK[:, rows],
                    k_BMGK[:, keys],
                    v_BMGK[:, keys],
                    mask_B1LM[:, :, rows, keys],
                    None if bias is None else bias[..., rows, keys],
                    K**-0.5 if scale is None else scale,
                )
            )
        o_BLGJK = jnp.concatenate(found, axis=1) if len(found) > 1 else found[0]
        return o_BLGJK.reshape(B, L, H, -1)
