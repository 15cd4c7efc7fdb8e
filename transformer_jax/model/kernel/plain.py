"""Attention step by step."""

from transformer_jax.model.attend import average, scaled_logits, softmax
from transformer_jax.model.kernel.base import Kernel, kernels


@kernels.register("plain")
class Plain(Kernel):
    """Step by step, every array in memory: the reference."""

    def __call__(self, q_BLHK, k_BMGK, v_BMGK, *, mask_B1LM, bias_BHLM=None, scale=None, ordered=False):
        logits_BHLM = scaled_logits(q_BLHK, k_BMGK, scale)
        if bias_BHLM is not None:
            logits_BHLM = logits_BHLM + bias_BHLM
        return average(softmax(logits_BHLM, mask_B1LM), v_BMGK)
