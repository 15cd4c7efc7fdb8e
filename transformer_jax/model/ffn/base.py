"""The interface of a feed-forward sublayer, and the two shapes that most have."""

from collections.abc import Callable
from functools import partial

from flax import linen as nn

from transformer_jax.model.base import Context, Layer, Part, constrain, fan_in
from transformer_jax.model.products import product, product_of
from transformer_jax.registry import Registry

ffns = Registry("ffn", "transformer_jax.model.ffn", base_fields=("arch",))


class FFN(Part):
    """Works on each position by itself."""

    def __call__(self, x_BLD, *, ctx: Context, layer: Layer):
        """y_BLD. `ctx` is that of the stack's self-attention: it says which positions are padding."""
        raise NotImplementedError

    def flops(self, length: int) -> float:
        """FLOPs of one layer's forward pass over a row, beside those of its parameter matrices."""
        return 0.0

    def multiplied(self, name: str, length: int) -> float:
        """With how many vectors of a row the parameter matrix `name` is multiplied, or each one of several experts."""
        return length

    def into(self, x_BLD, name: str, layer: Layer):
        """x W + b, from D to F."""
        D, F = self.arch.dims.width, self.arch.dims.ffn_size
        h_BLF = product("BLD,DF->BLF", x_BLD, self.weight(name, (D, F), ("width", "ffn"), fan_in(D), layer))
        if self.arch.parts.bias:
            h_BLF += self.weight(f"{name}_bias", (F,), ("ffn",), nn.initializers.zeros)
        return constrain(h_BLF, "act_batch", "act_length", "act_ffn")

    def out(self, function: Callable, inputs: tuple, layer: Layer):
        """f(…) W + b, from F to D, with f of arrays [B, L, F]."""
        D, F = self.arch.dims.width, self.arch.dims.ffn_size
        w_FD = self.weight("out", (F, D), ("ffn", "width"), fan_in(F), layer)
        y_BLD = product_of(function, "BLF,FD->BLD", inputs, w_FD)
        if self.arch.parts.bias:
            y_BLD += self.weight("out_bias", (D,), ("norm",), nn.initializers.zeros)
        return y_BLD


class Plain(FFN):
    """act(x W_in) W_out; a variant sets `activation`."""

    def activation(self) -> Callable:
        """What is done to each hidden unit, as a function of arrays."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x_BLD, *, ctx, layer):
        return self.out(self.activation(), (self.into(x_BLD, "in", layer),), layer)


class Gated(FFN):
    """(act(x W_gate) * (x W_in)) W_out (Shazeer 2020, arXiv 2002.05202); a variant sets `activation`.

    It has three matrices: for as many parameters as a plain one, give 2/3 of its `model.ffn_size`.
    """

    def activation(self) -> Callable:
        """What is done to each hidden unit, as a function of arrays."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x_BLD, *, ctx, layer):
        return self.out(
            partial(_gated, self.activation()), (self.into(x_BLD, "gate", layer), self.into(x_BLD, "in", layer)), layer
        )


def _gated(activation: Callable, gate_BLF, h_BLF):
    return activation(gate_BLF) * h_BLF
