"""Retention."""

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.model.mixer.base import mixers
from transformer_jax.model.mixer.headed import Headed
from transformer_jax.model.position import positions
from transformer_jax.model.recurrence import recur, recur_flops
from transformer_jax.shapes import Array, Float, checked


def log_decays(heads: int) -> np.ndarray:
    """log γ_h, γ_h = 1 - 2^(-5 - h) for h = 0 … H - 1 (eq. 8)."""
    return np.log1p(-(2.0 ** (-5.0 - np.arange(heads)))).astype(np.float32)


@checked
def head_norm(heads_BLHV: Float[Array, "B L H V"], eps: float = 1e-5) -> Float[Array, "B L H V"]:
    """(x - mean) / sqrt(var + eps) of each head by itself."""
    centred_BLHV = heads_BLHV - heads_BLHV.mean(-1, keepdims=True)
    return centred_BLHV * jax.lax.rsqrt(jnp.square(centred_BLHV).mean(-1, keepdims=True) + eps)


@mixers.register("retention")
class Retention(Headed):
    """norm_h(Σ_(j<=i) γ_h^(i-j) q_i k_j v_j) * swish(x W_g), projected (Sun et al. 2023, arXiv 2307.08621, eq. 5-8).

    q_i k_j is divided by sqrt(K). The paper's queries and keys are rotated: take `model.position='rope'`. The norm of
    each head has no parameters (eps 1e-5); but for its eps it undoes the paper's further scalings of the scores, which
    are left out. A real token decays the state once. No biases, whatever `model.bias` says.

    Attributes:
      expand: values and gate have `expand` K entries per head.
      chunk: positions that are read at once; changes speed, not the result.
    """

    expand: int = 2
    chunk: int = 64

    reads = frozenset({"query", "key"})
    cost = "time linear in L instead of quadratic; a gate of e D H K; a state of e H K^2 (e = expand)"

    @property
    def value_size(self) -> int:
        return self.expand * self.arch.dims.head_size

    def problems(self) -> list[str]:
        given = {"expand": self.expand, "chunk": self.chunk}
        return super().problems() + [f"{key}={value}: give at least 1" for key, value in given.items() if value < 1]

    def zero(self, batch: int):
        return jnp.zeros((batch, self.heads, self.arch.dims.head_size, self.value_size), jnp.float32)

    def flops(self, length: int, memory_length: int) -> float:
        H, K, V = self.heads, self.arch.dims.head_size, self.value_size
        once = recur_flops(length, self.chunk, groups=H, heads=H, key_size=K, value_size=V)
        return once if self.causal else 2 * once

    def run(self, x_BLD, state, valid_BL, reset_BL, ctx, layer):
        K, V = self.arch.dims.head_size, self.value_size
        position = positions.build(self.position, arch=self.arch, causal=self.causal, name="position")
        q_BLHK = position.query(self.project(x_BLD, "query", K, layer), ctx)
        k_BLHK = position.key(self.project(x_BLD, "key", K, layer), ctx) * K**-0.5
        v_BLHV = self.project(x_BLD, "value", V, layer)
        log_a_BLH = jnp.broadcast_to(log_decays(self.heads), (*valid_BL.shape, self.heads))
        heads_BLHV, state = recur(
            q_BLHK, k_BLHK, v_BLHV, log_a_BLH, state, valid_BL=valid_BL, reset_BL=reset_BL, chunk=self.chunk
        )
        gate_BLHV = jax.nn.silu(self.project(x_BLD, "gate", V, layer))
        return self.output(head_norm(heads_BLHV).astype(self.dtype) * gate_BLHV, layer), state
