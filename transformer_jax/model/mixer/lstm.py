"""Long short-term memory."""

import jax
import jax.numpy as jnp

from transformer_jax.model.base import constrain, fan_in
from transformer_jax.model.mixer.base import mixers
from transformer_jax.model.mixer.recurrent import Recurrent
from transformer_jax.model.products import product
from transformer_jax.model.recurrence import over_time
from transformer_jax.shapes import Array, Float, checked


@checked
def lstm_cell(
    state: tuple[Float[Array, "B D"], Float[Array, "B D"]],
    x_B4D: Float[Array, "B 4 D"],
    hidden_D4D: Float[Array, "D 4 D"],
) -> tuple[tuple[Float[Array, "B D"], Float[Array, "B D"]], Float[Array, "B D"]]:
    """One step: ((h, c), h). `x_B4D` is W x + b of the input, forget, cell and output gates; all in float32."""
    h_BD, c_BD = state
    gates_B4D = x_B4D + jnp.einsum(
        "BD,DGE->BGE", h_BD.astype(hidden_D4D.dtype), hidden_D4D, preferred_element_type=jnp.float32
    )
    i_BD, f_BD, g_BD, o_BD = (gates_B4D[:, gate] for gate in range(4))
    c_BD = jax.nn.sigmoid(f_BD) * c_BD + jax.nn.sigmoid(i_BD) * jnp.tanh(g_BD)
    h_BD = jax.nn.sigmoid(o_BD) * jnp.tanh(c_BD)
    return (h_BD, c_BD), h_BD


def forget_start(key, shape, dtype):
    """1 for the forget gate, 0 for the others."""
    return jnp.zeros(shape, dtype).at[1].set(1)


@mixers.register("lstm")
class LSTM(Recurrent):
    """c = σ(f) c + σ(i) tanh(g), y = σ(o) tanh(c) W_o (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    The gates are W x + U h + b, in this order: i, f, g, o. b is there whatever `model.bias` says, which adds none; that
    of the forget gate starts at 1 (Jozefowicz et al. 2015). No peepholes. There are no heads.
    """

    cost = "L steps one after another; 9 D^2 parameters; a state of 2 D"

    def zero(self, batch: int):
        return (jnp.zeros((batch, self.arch.dims.width), jnp.float32),) * 2

    def run(self, x_BLD, state, valid_BL, reset_BL, ctx, layer):
        D = self.arch.dims.width
        axes = ("width", None, None)
        input_D4D = self.weight("input", (D, 4, D), axes, fan_in(D), layer)
        # Gathered before the loop, not in each of its steps.
        hidden_D4D = constrain(self.weight("hidden", (D, 4, D), axes, fan_in(D), layer), None, None, None)
        # Without a named dimension: it is a bias, and no matrix that decays.
        bias_4D = self.weight("bias", (4, D), (None, None), forget_start, layer)
        x_LB4D = product("BLD,DGE->LBGE", x_BLD, input_D4D, jnp.float32) + bias_4D
        h_LBD, state = over_time(
            lambda state, x_B4D: lstm_cell(state, x_B4D, hidden_D4D),
            x_LB4D,
            state,
            valid_BL=valid_BL,
            reset_BL=reset_BL,
        )
        out_DD = self.weight("out", (D, D), (None, "width"), fan_in(D), layer)
        return product("LBE,ED->BLD", h_LBD.astype(self.dtype), out_DD), state
