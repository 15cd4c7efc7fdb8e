"""JAX's own attention."""

import jax

from transformer_jax.model.kernel.base import Kernel, kernels


@kernels.register("xla")
class XLA(Kernel):
    """`jax.nn.dot_product_attention`, which the compiler fuses as it can. All logits are in memory."""

    implementation = "xla"

    def __call__(self, q_BLHK, k_BMGK, v_BMGK, *, mask_B1LM, bias_BHLM=None, scale=None, ordered=False):
        bias = None if bias_BHLM is None else bias_BHLM.astype(q_BLHK.dtype)
        return jax.nn.dot_product_attention(
            q_BLHK, k_BMGK, v_BMGK, bias=bias, mask=mask_B1LM, scale=scale, implementation=self.implementation
        )
