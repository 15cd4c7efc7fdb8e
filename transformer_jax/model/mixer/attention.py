"""`Attention`: what all attentions share, in steps that a variant may replace one by one."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.errors import UserError
from transformer_jax.model.attend import average, scaled_logits
from transformer_jax.model.base import constrain, fan_in
from transformer_jax.model.kernel import kernels
from transformer_jax.model.mixer.base import Mixer
from transformer_jax.model.norm import norms
from transformer_jax.model.position import positions
from transformer_jax.model.products import product
from transformer_jax.model.weighting import weightings


def whole(*arrays_BMGK):
    """Keys and values of all positions on each device of the length: what travels in attention, and all that does.

    Queries, and with them logits and weights, stay where their positions are.
    """
    return tuple(constrain(x_BMGK, "act_batch", "act_keys", "act_heads", None) for x_BMGK in arrays_BMGK)


class Attention(Mixer):
    """concat_h(weights(q_h k_h^T / sqrt(K)) v_h) W_o (Vaswani et al. 2017, sec. 3.2.2).

    Head size K is `model.head_size` and need not be D / H (Bhojanapalli et al. 2020).

    Attributes:
      kv_heads: H (None) is multi-head, 1 multi-query (Shazeer 2019), between them grouped-query attention
        (Ainslie et al. 2023).
      window: a query sees itself and the window - 1 positions before it, in an encoder also as many behind it
        (Beltagy et al. 2020); None for all.
      scale: of the logits; None for 1 / sqrt(K). T5 has 1, and small initial values instead.
      softcap: c tanh(logits / c), before biases (Gemma 2, 2024, sec. 2); None for none.
      qk_norm: a norm of queries and keys over K, before rotation (Henry et al. 2020), 'none' for none.
      weights: how logits become weights: softmax, sink, …
      kept: which of the model's H heads the layer has, the others having been pruned; None for all.
    """

    kv_heads: int | None = None
    window: int | None = None
    scale: float | None = None
    softcap: float | None = None
    qk_norm: str = "none"
    weights: str = "softmax"
    kept: tuple | None = None

    reads = frozenset({"bias", "once", "query", "key", "scores", "values"})
    has_heads = True
    options_shown_at = "mha"  # in the catalogue

    @property
    def heads(self) -> int:
        """Of this layer."""
        return self.arch.dims.heads if self.kept is None else len(self.kept)

    @property
    def groups(self) -> int:
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def own_arch(self):
        """The architecture with this layer's number of heads, for the parts inside it."""
        return dataclasses.replace(self.arch, dims=dataclasses.replace(self.arch.dims, heads=self.heads))

    def problems(self) -> list[str]:
        if self.kept is not None and not all(type(head) is int for head in self.kept):
            return [f"kept={self.kept}: give the numbers of heads"]
        H, G = self.heads, self.groups
        all_heads = range(self.arch.dims.heads)
        found = []
        if self.kept is not None and (not self.kept or sorted(set(self.kept) & set(all_heads)) != list(self.kept)):
            found.append(f"kept={self.kept}: give different heads of 0 to {len(all_heads) - 1} in order, at least one")
        elif not (0 < G <= H and H % G == 0):
            found.append(f"kv_heads={G}: {H} heads cannot be shared out evenly; give a divisor of {H}")
        if self.kept is not None and self.kv_heads not in (None, 1):
            found.append(
                f"kept={self.kept} with kv_heads={self.kv_heads}: heads that share keys are kept or pruned together"
            )
        if self.window is not None and self.window < 1:
            found.append(f"window={self.window}: give at least 1, or None")
        if self.window is not None and self.crossing:
            found.append(f"window={self.window}: distances to another sequence mean nothing; only for self-attention")
        if self.scale is not None and self.scale <= 0:
            found.append(f"scale={self.scale}: give a number above 0, or None")
        if self.softcap is not None and self.softcap <= 0:
            found.append(f"softcap={self.softcap}: give a number above 0, or None")
        for name, registry, spec in (("weights", weightings, self.weights), ("qk_norm", norms, self.qk_norm)):
            try:
                found += [
                    f"{name}: {line}" for line in registry.build(spec, arch=self.own_arch, parent=None).problems()
                ]
            except UserError as error:
                found.append(f"{name}: {error}")
        return found

    @property
    def reads_logits(self) -> bool:
        return weightings.lookup(self.weights).reads_logits

    @property
    def products(self) -> float:
        """Of all pairs: the logits and the average, or only the latter, of whose gradients one is not needed then."""
        return 2 if self.reads_logits else 2 / 3

    def flops(self, length: int, memory_length: int) -> float:
        return 2.0 * self.products * self.heads * self.arch.dims.head_size * length * memory_length

    def position_flops(self, length: int, memory_length: int, rows: int) -> float:
        position = positions.build(self.position, arch=self.own_arch, causal=self.causal, parent=None)
        return position.flops(length, memory_length, rows) if self.reads_logits else 0.0

    def multiplied(self, name: str, length: int, memory_length: int) -> float:
        if not self.reads_logits and name.startswith(("query", "key")):
            return 0.0  # nobody reads them
        return super().multiplied(name, length, memory_length)

    @nn.compact
    def __call__(self, x_BLD, memory_BMD, *, ctx, layer, carried):
        position = positions.build(self.position, arch=self.own_arch, causal=self.causal, name="position")
        q_BLHK = self.project(x_BLD, "query", self.heads, "heads", layer)
        q_BLHK = position.query(self.normed(q_BLHK, "query_norm"), ctx)
        k_BMGK, v_BMGK = whole(*self.keys_values(x_BLD, memory_BMD, position, ctx, layer, carried))
        heads_BLHK = self.mix(q_BLHK, k_BMGK, v_BMGK, position, ctx, layer)
        return self.output(self.finish(heads_BLHK, x_BLD, layer), layer)

    def keys_values(self, x_BLD, memory_BMD, position, ctx, layer, carried):
        """k_BMGK and v_BMGK of all slots, read from and written to the cache where there is one."""

        def project(source_BMD):
            k_BMGK = self.project(source_BMD, "key", self.groups, "kv_heads", layer)
            v_BMGK = self.project(source_BMD, "value", self.groups, "kv_heads", layer)
            return self.normed(k_BMGK, "key_norm"), self.values(v_BMGK, layer, carried)

        if self.crossing:
            return self.keep(ctx, None if memory_BMD is None else lambda: project(memory_BMD))
        k_BLGK, v_BLGK = project(x_BLD)
        return self.append(ctx, key=position.key(k_BLGK, ctx), value=v_BLGK)

    def values(self, v_BMGK, layer, carried):
        """The values as they are cached. A hook."""
        return v_BMGK

    def mix(self, q_BLHK, k_BMGK, v_BMGK, position, ctx, layer):
        """heads_BLHK: by a fused kernel where the variant and its options allow, else step by step."""
        bias_BHLM, mask_B1LM = ctx.bias_BHLM, self.mask(ctx)
        if bias_BHLM is not None and self.kept is not None:
            bias_BHLM = bias_BHLM[:, jnp.array(self.kept)]
        if "scores" in position.hooks():
            each_BMHK = jnp.repeat(k_BMGK, self.heads // self.groups, axis=2)
            scores_BHLM = position.scores(q_BLHK, each_BMHK, ctx, layer)
            bias_BHLM = scores_BHLM if bias_BHLM is None else bias_BHLM + scores_BHLM
        if self.fuses(position):
            kernel = kernels.build(self.arch.execution.attention)
            options = {"mask_B1LM": mask_B1LM, "bias_BHLM": bias_BHLM, "scale": self.scale, "ordered": ctx.ordered}
            return kernel(q_BLHK, k_BMGK, v_BMGK, **options)
        logits_BHLM = scaled_logits(q_BLHK, k_BMGK, self.scale)
        if self.softcap is not None:
            logits_BHLM = self.softcap * jnp.tanh(logits_BHLM / self.softcap)
        if bias_BHLM is not None:
            logits_BHLM = logits_BHLM + bias_BHLM
        weights_BHLM = self.weigh(logits_BHLM, mask_B1LM, layer)
        heads_BLHK = average(weights_BHLM, v_BMGK)
        if "values" in position.hooks():
            heads_BLHK += position.values(weights_BHLM, ctx, layer).astype(heads_BLHK.dtype)
        return heads_BLHK

    def fuses(self, position) -> bool:
        """Whether a fused kernel computes this: plain softmax, and nobody asks for logits or weights."""
        plain = type(self).weigh is Attention.weigh and weightings.lookup(self.weights).fused
        return plain and self.softcap is None and "values" not in position.hooks()

    def weigh(self, logits_BHLM, mask_B1LM, layer):
        """weights_BHLM. A hook."""
        return weightings.build(self.weights, arch=self.own_arch, name="weighting")(logits_BHLM, mask_B1LM, layer)

    def finish(self, heads_BLHK, x_BLD, layer):
        """The heads before the output projection. A hook."""
        return heads_BLHK

    def mask(self, ctx):
        """Where a query may look, the window applied."""
        if self.window is None:
            return ctx.mask_B1LM
        distance_BLM = jnp.abs(ctx.qpos_BL[:, :, None] - ctx.kpos_BM[:, None, :])
        return ctx.mask_B1LM & (distance_BLM < self.window)[:, None]

    def normed(self, x_BLHK, name: str):
        return norms.build(self.qk_norm, arch=self.own_arch, name=name)(x_BLHK)

    def project(self, x_BLD, name: str, heads: int, axis: str, layer):
        """x W (+ b), a vector per head."""
        D, K = self.arch.dims.width, self.arch.dims.head_size
        w_DHK = self.weight(name, (D, heads, K), ("width", axis, "head_size"), fan_in(D), layer)
        y_BLHK = product("BLD,DHK->BLHK", x_BLD, w_DHK)
        if self.arch.parts.bias:
            y_BLHK += self.weight(f"{name}_bias", (heads, K), (axis, "head_size"), nn.initializers.zeros)
        return constrain(y_BLHK, "act_batch", "act_length", "act_heads", None)

    def output(self, heads_BLHK, layer):
        """concat(heads) W_o (+ b), each head multiplied with its factor of `layer.heads`, if there are any."""
        D, K = self.arch.dims.width, self.arch.dims.head_size
        if layer.heads is not None:
            factor_H = layer.heads["cross" if self.crossing else "attention"].astype(heads_BLHK.dtype)
            factor_H = factor_H if self.kept is None else factor_H[jnp.array(self.kept)]
            heads_BLHK = heads_BLHK * factor_H[:, None]
        axes = ("heads", "head_size", "width")
        out_HKD = self.weight("out", (self.heads, K, D), axes, fan_in(self.heads * K), layer)
        y_BLD = product("BLHK,HKD->BLD", heads_BLHK, out_HKD)
        if self.arch.parts.bias:
            y_BLD += self.weight("out_bias", (D,), ("norm",), nn.initializers.zeros)
        return y_BLD
