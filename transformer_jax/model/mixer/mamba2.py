"""Mamba-2."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.mixer.base import mixers
from transformer_jax.model.mixer.recurrent import Recurrent
from transformer_jax.model.norm import norms
from transformer_jax.model.products import product
from transformer_jax.model.recurrence import causal_convolution, recur, recur_flops


def rate_start(key, shape, dtype):
    """log A, A uniform in 1 … 16."""
    return jnp.log(jax.random.uniform(key, shape, dtype, 1.0, 16.0))


def step_start(key, shape, dtype):
    """The b for which softplus(b) is uniform in its logarithm from 0.001 to 0.1."""
    step = jnp.exp(jax.random.uniform(key, shape, dtype, math.log(1e-3), math.log(1e-1)))
    return step + jnp.log(-jnp.expm1(-step))


_WIDEST = 128


@mixers.register("mamba2")
class Mamba2(Recurrent):
    """S_t = exp(-A Δ_t) S_(t-1) + Δ_t x_t B_t^T, y_t = S_t C_t + s x_t (Dao & Gu 2024, arXiv 2405.21060, sec. 6-7).

    x, B, C come from a short causal convolution and silu, Δ = softplus(u W + b) is of each head; y is gated, normed
    (RMS of y silu(z), eps 1e-5) and projected. One B and C for all heads. The heads are its own, not those that
    `model.heads` counts. Its biases are those of the convolution and of Δ, whatever `model.bias` says.

    Attributes:
      state: entries of B and C.
      expand: the inner width is E = `expand` D.
      head_size: entries of x per head, a divisor of E; None for the model's head size.
      conv: positions that the convolution reads.
      chunk: positions that are read at once; changes speed, not the result.
    """

    state: int = 64
    expand: int = 2
    head_size: int | None = None
    conv: int = 4
    chunk: int = 64

    cost = "time linear in L instead of quadratic; (3 e D + 2 S) D parameters; a state of e D S (e = expand, S = state)"

    @property
    def inner(self) -> int:
        return self.expand * self.arch.dims.width

    @property
    def per_head(self) -> int:
        return self.arch.dims.head_size if self.head_size is None else self.head_size

    def problems(self) -> list[str]:
        given = {key: getattr(self, key) for key in ("state", "expand", "conv", "chunk")} | {"head_size": self.per_head}
        found = [f"{key}={value}: give at least 1" for key, value in given.items() if value < 1]
        if self.conv > _WIDEST:
            found.append(f"conv={self.conv}: give {_WIDEST} at most, each tap being written out in the program")
        if not found and self.inner % self.per_head:
            found.append(
                f"head_size={self.head_size}: the inner width of {self.inner} cannot be divided into heads of "
                f"{self.per_head}; give a divisor of {self.inner}"
            )
        return super().problems() + found

    @property
    def channels(self) -> dict[str, int]:
        """What goes through the convolution, and how wide it is."""
        return {"x": self.inner, "b": self.state, "c": self.state}

    def zero(self, batch: int):
        heads, past = self.inner // self.per_head, self.conv - 1
        state = {name: jnp.zeros((batch, past, size), self.dtype) for name, size in self.channels.items()}
        return state | {"s": jnp.zeros((batch, heads, self.state, self.per_head), jnp.float32)}

    def flops(self, length: int, memory_length: int) -> float:
        once = recur_flops(
            length,
            self.chunk,
            groups=1,
            heads=self.inner // self.per_head,
            key_size=self.state,
            value_size=self.per_head,
        )
        return once if self.causal else 2 * once

    def multiplied(self, name, length, memory_length):
        # The convolution works on each channel by itself: no matrix product.
        return 0.0 if name.startswith("conv_") else super().multiplied(name, length, memory_length)

    def run(self, x_BLD, state, valid_BL, reset_BL, ctx, layer):
        D, E, P = self.arch.dims.width, self.inner, self.per_head
        H = E // P
        read = dict(valid_BL=valid_BL, reset_BL=reset_BL)
        mixed, state = {}, dict(state)
        for name in self.channels:
            mixed[name], state[name] = self.convolve(x_BLD, name, state[name], read, layer)
        in_dt_DH = self.weight("in_dt", (D, H), ("width", "heads"), fan_in(D), layer)
        dt_bias_H = self.weight("dt_bias", (H,), ("heads",), step_start, layer)
        dt_BLH = product("BLD,DH->BLH", x_BLD, in_dt_DH, jnp.float32) + dt_bias_H
        dt_BLH = jax.nn.softplus(dt_BLH)
        a_H = jnp.exp(self.weight("a_log", (H,), ("heads",), rate_start, layer).astype(jnp.float32))

        x_BLHP = mixed["x"].reshape(*x_BLD.shape[:2], H, P).astype(jnp.float32)
        b_BL1S, c_BL1S = mixed["b"][:, :, None], mixed["c"][:, :, None]
        v_BLHP = dt_BLH[..., None] * x_BLHP
        y_BLHP, state["s"] = recur(c_BL1S, b_BL1S, v_BLHP, -a_H * dt_BLH, state["s"], **read, chunk=self.chunk)
        y_BLHP += self.weight("skip", (H,), ("heads",), nn.initializers.ones, layer)[:, None] * x_BLHP
        z_BLE = self.project(x_BLD, "in_z", E, "ffn", layer)
        norm = norms.build("rmsnorm(eps=1e-5)", arch=self.arch, name="norm")
        y_BLE = norm(y_BLHP.reshape(z_BLE.shape) * jax.nn.silu(z_BLE))
        out_ED = self.weight("out", (E, D), ("ffn", "width"), fan_in(E), layer)
        return product("BLE,ED->BLD", y_BLE.astype(self.dtype), out_ED), state

    def project(self, x_BLD, name: str, size: int, axis: str, layer):
        """x W."""
        D = self.arch.dims.width
        return product("BLD,DE->BLE", x_BLD, self.weight(name, (D, size), ("width", axis), fan_in(D), layer))

    def convolve(self, x_BLD, name: str, past_BPE, read, layer):
        """(silu(conv(x W) + b), the next past) of channel group `name`."""
        size, axis = self.channels[name], "ffn" if name == "x" else "head_size"
        x_BLE = self.project(x_BLD, f"in_{name}", size, axis, layer)
        taps_WE = self.weight(f"conv_{name}", (self.conv, size), (None, axis), fan_in(self.conv), layer)
        bias_E = self.weight(f"conv_{name}_bias", (size,), (axis,), nn.initializers.zeros, layer)
        y_BLE, past_BPE = causal_convolution(x_BLE, taps_WE, past_BPE, **read)
        return jax.nn.silu(y_BLE + bias_E), past_BPE
