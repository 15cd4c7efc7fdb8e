"""Gated recurrent unit."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import constrain, fan_in
from transformer_jax.model.mixer.base import mixers
from transformer_jax.model.mixer.recurrent import Recurrent
from transformer_jax.model.products import product
from transformer_jax.model.recurrence import over_time
from transformer_jax.shapes import Array, Float, checked


@checked
def gru_cell(
    h_BD: Float[Array, "B D"], x_B3D: Float[Array, "B 3 D"], hidden_D3D: Float[Array, "D 3 D"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """One step: (h, h). `x_B3D` is W x + b of the reset gate, the update gate and the candidate; all in float32."""
    own_B3D = jnp.einsum("BD,DGE->BGE", h_BD.astype(hidden_D3D.dtype), hidden_D3D, preferred_element_type=jnp.float32)
    r_BD = jax.nn.sigmoid(x_B3D[:, 0] + own_B3D[:, 0])
    z_BD = jax.nn.sigmoid(x_B3D[:, 1] + own_B3D[:, 1])
    n_BD = jnp.tanh(x_B3D[:, 2] + r_BD * own_B3D[:, 2])
    h_BD = (1 - z_BD) * n_BD + z_BD * h_BD
    return h_BD, h_BD


@mixers.register("gru")
class GRU(Recurrent):
    """h = (1 - z) tanh(W x + b + r (U h)) + z h', h' the state before, y = h W_o (Cho et al. 2014, arXiv 1406.1078).

    r and z are sigmoids of W x + U h' + b. As in cuDNN, r multiplies U h' and not h', and z keeps the state. b is
    there whatever `model.bias` says, which adds none. There are no heads.
    """

    cost = "L steps one after another; 7 D^2 parameters; a state of D"

    def zero(self, batch: int):
        return jnp.zeros((batch, self.arch.dims.width), jnp.float32)

    def run(self, x_BLD, state, valid_BL, reset_BL, ctx, layer):
        D = self.arch.dims.width
        axes = ("width", None, None)
        input_D3D = self.weight("input", (D, 3, D), axes, fan_in(D), layer)
        # Gathered before the loop, not in each of its steps.
        hidden_D3D = constrain(self.weight("hidden", (D, 3, D), axes, fan_in(D), layer), None, None, None)
        # Without a named dimension: it is a bias, and no matrix that decays.
        bias_3D = self.weight("bias", (3, D), (None, None), nn.initializers.zeros, layer)
        x_LB3D = product("BLD,DGE->LBGE", x_BLD, input_D3D, jnp.float32) + bias_3D
        h_LBD, state = over_time(
            lambda state, x_B3D: gru_cell(state, x_B3D, hidden_D3D),
            x_LB3D,
            state,
            valid_BL=valid_BL,
            reset_BL=reset_BL,
        )
        out_DD = self.weight("out", (D, D), (None, "width"), fan_in(D), layer)
        return product("LBE,ED->BLD", h_LBD.astype(self.dtype), out_DD), state
