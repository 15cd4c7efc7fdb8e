"""Multi-head attention, with grouped and single key-value heads."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.attend import attend
from transformer_jax.model.base import constrain, fan_in
from transformer_jax.model.mixer.base import Mixer, mixers
from transformer_jax.model.position import positions


@mixers.register("mha")
class MultiHeadAttention(Mixer):
    """concat_h(softmax(q_h k_h^T / sqrt(K)) v_h) W_o (Vaswani et al. 2017, sec. 3.2.2).

    `kv_heads` = H (None) is multi-head, 1 multi-query (Shazeer 2019), between them grouped-query attention
    (Ainslie et al. 2023). Head size K is `model.head_size` and need not be D / H (Bhojanapalli et al. 2020).
    """

    kv_heads: int | None = None

    @property
    def groups(self) -> int:
        return self.arch.dims.heads if self.kv_heads is None else self.kv_heads

    def problems(self) -> list[str]:
        H, G = self.arch.dims.heads, self.groups
        if 0 < G <= H and H % G == 0:
            return []
        return [f"mha(kv_heads={G}): {H} heads cannot be shared out evenly; give a divisor of {H}"]

    @nn.compact
    def __call__(self, x_BLD, memory_BMD, *, ctx, layer):
        D, H, K = self.arch.dims.width, self.arch.dims.heads, self.arch.dims.head_size
        position = positions.build(self.position, arch=self.arch, causal=self.causal, name="position")

        def project(x_BLD, name, heads, axis):
            w_DHK = self.weight(name, (D, heads, K), ("width", axis, "head_size"), fan_in(D), layer)
            y_BLHK = jnp.einsum("BLD,DHK->BLHK", x_BLD, w_DHK)
            if self.arch.parts.bias:
                y_BLHK += self.weight(f"{name}_bias", (heads, K), (axis, "head_size"), nn.initializers.zeros)
            return constrain(y_BLHK, "act_batch", "act_length", "act_heads", None)

        def keys_values(source_BMD):
            k_BMGK = project(source_BMD, "key", self.groups, "kv_heads")
            return k_BMGK, project(source_BMD, "value", self.groups, "kv_heads")

        q_BLHK = position.rotate(project(x_BLD, "query", H, "heads"), ctx.qpos_BL)
        if self.crossing:
            compute = None if memory_BMD is None else lambda: keys_values(memory_BMD)
            k_BMGK, v_BMGK = self.keep(ctx, compute)
        else:
            k_BLGK, v_BLGK = keys_values(x_BLD)
            k_BMGK, v_BMGK = self.append(ctx, key=position.rotate(k_BLGK, ctx.qpos_BL), value=v_BLGK)
        heads_BLHK = attend(
            q_BLHK,
            k_BMGK,
            v_BMGK,
            mask_B1LM=ctx.mask_B1LM,
            bias_BHLM=ctx.bias_BHLM,
            backend=self.arch.execution.attention,
        )
        out_HKD = self.weight("out", (H, K, D), ("heads", "head_size", "width"), fan_in(H * K), layer)
        y_BLD = jnp.einsum("BLHK,HKD->BLD", heads_BLHK, out_HKD)
        if self.arch.parts.bias:
            y_BLD += self.weight("out_bias", (D,), ("norm",), nn.initializers.zeros)
        return y_BLD
