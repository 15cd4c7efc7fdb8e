"""FIRE: a learned function of the share of the past that a distance spans."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.position.base import Position, positions
from transformer_jax.shapes import Array, Float, Int, checked

# The threshold that the learned multiplier starts from, in tokens (the authors' listing).
_THRESHOLD = 512


@checked
def span(
    qpos_BL: Int[Array, "B L"],
    kpos_BM: Int[Array, "B M"],
    c: Float[Array, ""],
    threshold: Float[Array, ""],
    *,
    causal: bool,
) -> Float[Array, "B L M"]:
    """log(c |i - j| + 1) / log(c max(T, i) + 1), where an encoder puts max(i, j) for i."""
    i_BL1, j_B1M = qpos_BL[:, :, None].astype(jnp.float32), kpos_BM[:, None, :].astype(jnp.float32)
    whole_BLM = jnp.maximum(i_BL1 if causal else jnp.maximum(i_BL1, j_B1M), jnp.abs(threshold))
    part_BLM = jnp.log1p(jnp.abs(c * (i_BL1 - j_B1M)))
    return part_BLM / (jnp.log1p(jnp.abs(c * whole_BLM)) + 1e-6)


@checked
def perceptron(
    x_BLM: Float[Array, "B L M"],
    hidden_1U: Float[Array, "1 U"],
    hidden_bias_U: Float[Array, " U"],
    out_UH: Float[Array, "U H"],
    out_bias_H: Float[Array, " H"],
) -> Float[Array, "B H L M"]:
    """relu(x W_1 + b_1) W_2 + b_2 for each number.

    The hidden units of all pairs would take U / H times the room of the result, for the backward pass too. So
    keys come in chunks whose units fit into the room of one result, and are computed again backwards. Not queries:
    the length of these may be split over devices, which then work side by side.
    """
    M, (U, H) = x_BLM.shape[2], out_UH.shape

    @jax.checkpoint
    def one(x_BL):
        units_BLU = jax.nn.relu(x_BL[..., None] * hidden_1U[0] + hidden_bias_U)
        return jnp.einsum("BLU,UH->BHL", units_BLU, out_UH) + out_bias_H[:, None]

    y_MBHL = jax.lax.map(one, jnp.einsum("BLM->MBL", x_BLM), batch_size=max(1, min(M, M * H // U)))
    return jnp.einsum("MBHL->BHLM", y_MBHL)


def uniform(n_inputs: int):
    """Between ± 1 / sqrt(n_inputs), biases too, so that the kinks of the units lie all over the range of x."""
    bound = n_inputs**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


@positions.register("fire")
class Fire(Position):
    """Logits + MLP_h(log(c|i-j| + 1) / log(c max(T, i) + 1)) (Li et al. 2023, arXiv 2310.04418).

    c, T = 512 |threshold| and the MLP are learned, one set for all layers. For the authors i is the query in a
    causal stack; max(i, j) in an encoder, which is symmetric, is ours.

    Attributes:
      hidden: units of the MLP.
    """

    hidden: int = 32

    cost = "H L M bias and an MLP for each pair, once per stack"

    def problems(self) -> list[str]:
        return [] if self.hidden >= 1 else [f"fire(hidden={self.hidden}): give at least 1"]

    def flops_once(self, length, memory_length, rows):
        return 2.0 * self.hidden * self.arch.dims.heads * length * memory_length

    @nn.compact
    def bias(self, qpos_BL, kpos_BM):
        U, H = self.hidden, self.arch.dims.heads
        weights = (
            self.weight("c", (), (), nn.initializers.constant(0.1)),
            self.weight("threshold", (), (), nn.initializers.ones),
            self.weight("hidden", (1, U), (None, None), uniform(1)),
            self.weight("hidden_bias", (U,), (None,), uniform(1)),
            self.weight("out", (U, H), (None, "heads"), uniform(U)),
            self.weight("out_bias", (H,), ("heads",), uniform(U)),
        )
        c, threshold, *mlp = (weight.astype(jnp.float32) for weight in weights)
        return perceptron(span(qpos_BL, kpos_BM, c, _THRESHOLD * threshold, causal=self.causal), *mlp)
