"""A mixture of experts: each token passes through a few of several feed-forward networks.

Letters beside those of `shapes`: E experts, J choices of a token, C slots of an expert in a row,
X = B L J assignments of a token to an expert.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import constrain, fan_in
from transformer_jax.model.ffn.base import FFN, ffns
from transformer_jax.model.products import product
from transformer_jax.shapes import Array, Bool, Float, Int, checked

_ACTIVATIONS = {"relu": jax.nn.relu, "gelu": jax.nn.gelu}


@checked
def route(logits_BLE: Float[Array, "B L E"], top: int) -> tuple[Float[Array, "B L J"], Int[Array, "B L J"]]:
    """(gate, expert): the `top` most likely experts of each token, and their probabilities scaled to sum to 1.

    A single choice keeps its probability (Fedus et al. 2021, eq. 2): scaled to 1 it would leave the router
    without a gradient.
    """
    p_BLE = jax.nn.softmax(logits_BLE)
    # Sorted: `jax.lax.top_k` is a call that the partitioner does not look into, and gathers the logits of a mesh.
    expert_BLJ = jnp.argsort(jax.lax.stop_gradient(-p_BLE), axis=-1, stable=True)[..., :top]
    gate_BLJ = jnp.take_along_axis(p_BLE, expert_BLJ, axis=-1)
    return gate_BLJ if top == 1 else gate_BLJ / gate_BLJ.sum(-1, keepdims=True), expert_BLJ


@checked
def slots(chosen_BLJE: Float[Array, "B L J E"]) -> Int[Array, "B L J"]:
    """Which slot of its expert each assignment gets in its row: first choices before second ones, then in order.

    Args:
      chosen_BLJE: 1 for the expert that is chosen; nothing where a token is padding.
    """
    earlier_BLJE = jnp.cumsum(chosen_BLJE, axis=1) - chosen_BLJE
    count_B1JE = chosen_BLJE.sum(1, keepdims=True)
    before_B1JE = jnp.cumsum(count_B1JE, axis=2) - count_B1JE
    return jnp.einsum("BLJE,BLJE->BLJ", earlier_BLJE + before_B1JE, chosen_BLJE).astype(jnp.int32)


@checked
def balance_loss(
    logits_BLE: Float[Array, "B L E"], expert_BLJ: Int[Array, "B L J"], real_BL: Bool[Array, "B L"]
) -> tuple[Float[Array, ""], Float[Array, " E"]]:
    """(E Σ_e f_e P_e, f): f_e the share of assignments and P_e the mean probability of expert e, of real tokens."""
    experts, tokens = logits_BLE.shape[-1], jnp.maximum(real_BL.sum(), 1)
    share_E = jnp.einsum("BLJE,BL->E", jax.nn.one_hot(expert_BLJ, experts), real_BL.astype(jnp.float32))
    share_E = share_E / (tokens * expert_BLJ.shape[-1])
    mean_E = jnp.einsum("BLE,BL->E", jax.nn.softmax(logits_BLE), real_BL.astype(jnp.float32)) / tokens
    return experts * jnp.sum(share_E * mean_E), share_E


@ffns.register("moe")
class MoE(FFN):
    """Σ_e p_e act(x W_in,e) W_out,e over the top likeliest experts, p = softmax(x W_r) (Jiang 2024, arXiv 2401.04088).

    p is scaled to sum to 1 over the chosen experts (with top=1 it is not: Fedus et al. 2021). No biases.

    Training adds `balance` E Σ_e f_e P_e, which is least when all experts are used alike (Fedus et al. 2021,
    arXiv 2101.03961, eq. 4), and reports the largest share of assignments times E (`expert_load_max`), the
    mean entropy of p in nats (`router_entropy`), and the share of assignments that was `dropped`.

    capacity None: every assignment is computed, sorted by expert. What it computes is exact and independent of
    the rest of the batch; over a mesh, the sort gathers the tokens. CPUs compute it at the cost of all experts.

    capacity c: in each row an expert takes ceil(c top L / E) tokens, first choices before second ones, then
    in order; it adds 0 to the others (Lepikhin et al. 2020, GShard, arXiv 2006.16668, alg. 1, without its
    random second choice). Shapes are fixed, and experts can lie on different devices. But what is dropped
    hangs on the whole row, also on later tokens and other segments; decoding with a cache sees the tokens of
    one step alone.

    Attributes:
      size: hidden units of one expert; None stands for `model.ffn_size`.
    """

    experts: int = 4
    top: int = 2
    act: Literal["relu", "gelu"] = "gelu"
    size: int | None = None
    capacity: float | None = None
    balance: float = 0.01

    cost = "a token passes through top of the experts (through all where ragged_dot is no kernel, as on CPUs)"

    def slots_in(self, length: int) -> int:
        """C, of a row of this length, where there is a capacity."""
        return math.ceil(self.capacity * self.top * length / self.experts)

    def flops(self, length: int) -> float:
        D, E, J = self.arch.dims.width, self.experts, self.top
        if self.capacity is None:
            return 2.0 * length * J * D
        # Tokens to slots (of which the places need no gradient: 2/3 of what the way back takes) and back, and the
        # places themselves.
        return 2.0 * length * self.slots_in(length) * (E * D * 5 / 3 + J * E + J * 2 / 3)

    def multiplied(self, name: str, length: int) -> float:
        if name == "router":
            return length
        return self.top * length / self.experts if self.capacity is None else self.slots_in(length)

    def problems(self):
        found = []
        if self.experts < 1:
            found.append(f"experts={self.experts}: give 1 or more")
        elif not 1 <= self.top <= self.experts:
            found.append(f"top={self.top}: give 1 to experts={self.experts}")
        if self.size is not None and self.size < 1:
            found.append(f"size={self.size}: give 1 or more, or None for model.ffn_size")
        if self.capacity is not None and not 0 < self.capacity < math.inf:
            found.append(f"capacity={self.capacity}: give a number above 0, or None to drop no token")
        if not 0 <= self.balance < math.inf:
            found.append(f"balance={self.balance}: give 0 or more")
        return found

    @nn.compact
    def __call__(self, x_BLD, *, ctx, layer):
        D, E = self.arch.dims.width, self.experts
        F = self.arch.dims.ffn_size if self.size is None else self.size
        router_DE = self.weight("router", (D, E), ("width", None), fan_in(D), layer, jnp.float32)
        in_EDF = self.weight("in", (E, D, F), ("expert", "width", "ffn"), fan_in(D), layer)
        out_EFD = self.weight("out", (E, F, D), ("expert", "ffn", "width"), fan_in(F), layer)

        real_BL = ctx.qseg_BL > 0
        # In float32: small errors change which experts are chosen (Fedus et al. 2021, sec. 2.4).
        logits_BLE = product("BLD,DE->BLE", x_BLD.astype(jnp.float32), router_DE)
        gate_BLJ, expert_BLJ = route(logits_BLE, self.top)
        compute = self._all if self.capacity is None else self._limited
        y_BLD, kept_BLJ = compute(x_BLD, gate_BLJ.astype(x_BLD.dtype), expert_BLJ, real_BL, in_EDF, out_EFD)
        self._report(logits_BLE, expert_BLJ, real_BL, kept_BLJ)
        return y_BLD

    def _all(self, x_BLD, gate_BLJ, expert_BLJ, real_BL, in_EDF, out_EFD):
        """(y_BLD, kept_BLJ), every assignment computed."""
        (B, L, D), (E, J) = x_BLD.shape, (self.experts, self.top)
        # Padding goes behind everything, and into the last expert: so it moves no real token.
        key_X = jnp.where(real_BL[..., None], expert_BLJ, E).reshape(-1)
        order_X = jnp.argsort(key_X, stable=True)
        count_E = jnp.bincount(jnp.minimum(key_X, E - 1), length=E)
        x_XD = x_BLD.reshape(B * L, D)[order_X // J]
        h_XF = _ACTIVATIONS[self.act](jax.lax.ragged_dot(x_XD, in_EDF, count_E))
        y_XD = jax.lax.ragged_dot(h_XF, out_EFD, count_E)
        y_BLJD = y_XD[jnp.argsort(order_X)].reshape(B, L, J, D)
        return jnp.einsum("BLJD,BLJ->BLD", y_BLJD, gate_BLJ), jnp.ones((B, L, J), bool)

    def _limited(self, x_BLD, gate_BLJ, expert_BLJ, real_BL, in_EDF, out_EFD):
        """(y_BLD, kept_BLJ), as many tokens per expert as it has slots."""
        C = self.slots_in(x_BLD.shape[1])
        chosen_BLJE = jax.nn.one_hot(expert_BLJ, self.experts) * real_BL[..., None, None]
        slot_BLJ = slots(chosen_BLJE)
        slot_BLJC = jax.nn.one_hot(slot_BLJ, C, dtype=x_BLD.dtype)  # nothing from C on
        chosen_BLJE = chosen_BLJE.astype(x_BLD.dtype)
        dispatch_BLEC = jnp.einsum("BLJE,BLJC->BLEC", chosen_BLJE, slot_BLJC)
        combine_BLEC = jnp.einsum("BLJE,BLJC,BLJ->BLEC", chosen_BLJE, slot_BLJC, gate_BLJ)
        dispatch_BLEC, combine_BLEC = (
            constrain(x_BLEC, "act_batch", "act_length", None, None) for x_BLEC in (dispatch_BLEC, combine_BLEC)
        )
        x_EBCD = jnp.einsum("BLEC,BLD->EBCD", dispatch_BLEC, x_BLD)
        x_EBCD = constrain(x_EBCD, "act_expert", "act_group", None, "act_width")
        h_EBCF = _ACTIVATIONS[self.act](product("EBCD,EDF->EBCF", x_EBCD, in_EDF))
        h_EBCF = constrain(h_EBCF, "act_expert", "act_group", None, "act_ffn")
        y_EBCD = product("EBCF,EFD->EBCD", h_EBCF, out_EFD)
        y_EBCD = constrain(y_EBCD, "act_expert", "act_group", None, "act_width")
        return jnp.einsum("BLEC,EBCD->BLD", combine_BLEC, y_EBCD), slot_BLJ < C

    def _report(self, logits_BLE, expert_BLJ, real_BL, kept_BLJ):
        loss, share_E = balance_loss(logits_BLE, expert_BLJ, real_BL)
        tokens = jnp.maximum(real_BL.sum(), 1)
        log_BLE = jax.nn.log_softmax(logits_BLE)
        entropy_BL = -jnp.sum(jnp.exp(log_BLE) * log_BLE, -1)
        lost_BLJ = real_BL[..., None] & ~kept_BLJ
        self.report("losses", "balance", self.balance * loss)
        self.report("metrics", "expert_load_max", self.experts * share_E.max())
        self.report("metrics", "router_entropy", jnp.sum(jnp.where(real_BL, entropy_BL, 0)) / tokens)
        self.report("metrics", "dropped", lost_BLJ.sum() / (tokens * self.top))
