"""Recurrences as pure functions: gated linear ones in chunks, cells over time, and a causal convolution.

All of them take `valid_BL` (False on padding, which changes no state and is never read) and `reset_BL` (True
where a new segment begins, before whose first position the state is zeroed). Inside of chunks two more letters:
J chunks of C positions, of which I are queries.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transformer_jax.shapes import Array, Bool, Float, checked


@checked
def recur(
    q_BLGK: Float[Array, "B L G K"],
    k_BLGK: Float[Array, "B L G K"],
    v_BLHV: Float[Array, "B L H V"],
    log_a_BLA: Float[Array, "B L A"],
    state_BHKV: Float[Array, "B H K V"],
    *,
    valid_BL: Bool[Array, "B L"],
    reset_BL: Bool[Array, "B L"],
    chunk: int,
) -> tuple[Float[Array, "B L H V"], Float[Array, "B H K V"]]:
    """S_t = a_t S_(t-1) + k_t v_t^T, y_t = q_t S_t: (y_BLHV, the last state), both in float32.

    Inside a chunk this is attention with decays for weights (Dao & Gu 2024, arXiv 2405.21060, sec. 6); only the
    states between chunks are computed one after another. Segments are kept apart by comparing the numbers of
    their runs: a decay of zero would be an infinite logarithm, whose differences are no numbers.

    Args:
      q_BLGK, k_BLGK: of each head (G = H), or one for all heads (G = 1).
      log_a_BLA: log a_t <= 0 of each head (A = H), or one for all heads (A = 1). Decays are differences of its
        running sums in a chunk, so their relative error grows with these: 5e-5 where they reach -5000.
      chunk: at most so many positions are read at once; the result does not depend on it.
    """
    L, length = v_BLHV.shape[1], chunk_length(v_BLHV.shape[1], chunk)
    q_BJIGK = _chunks(q_BLGK.astype(jnp.float32), length)
    k_BJCGK = _chunks(jnp.where(valid_BL[..., None, None], k_BLGK, 0).astype(jnp.float32), length)
    v_BJCHV = _chunks(jnp.where(valid_BL[..., None, None], v_BLHV, 0).astype(jnp.float32), length)
    log_a_BJCA = _chunks(jnp.where(valid_BL[..., None], log_a_BLA, 0).astype(jnp.float32), length)
    total_BJCA = jnp.cumsum(log_a_BJCA, axis=2)
    run_BJC = jnp.cumsum(_chunks(reset_BL, length).astype(jnp.int32), axis=2)

    same_BJIC = jnp.tril(run_BJC[..., :, None] == run_BJC[..., None, :])
    total_BJAC = jnp.moveaxis(total_BJCA, -1, 2)
    decay_BJAIC = _decay(total_BJAC[..., :, None] - total_BJAC[..., None, :], same_BJIC[:, :, None])
    scores_BJGIC = jnp.einsum("BJIGK,BJCGK->BJGIC", q_BJIGK, k_BJCGK)
    y_BJIHV = jnp.einsum("BJHIC,BJCHV->BJIHV", scores_BJGIC * decay_BJAIC, v_BJCHV)

    last_BJ1A, last_BJ1 = total_BJCA[:, :, -1:], run_BJC[:, :, -1:]
    to_end_BJCA = _decay(last_BJ1A - total_BJCA, (run_BJC == last_BJ1)[..., None])
    added_BJHKV = jnp.einsum("BJCHK,BJCHV->BJHKV", k_BJCGK, v_BJCHV * to_end_BJCA[..., None])
    from_start_BJIA = _decay(total_BJCA, (run_BJC == 0)[..., None])

    def advance(state_BHKV, of_chunk):
        through_BA, added_BHKV = of_chunk
        return through_BA[..., None, None] * state_BHKV + added_BHKV, state_BHKV

    by_chunk = jnp.moveaxis(from_start_BJIA[:, :, -1], 1, 0), jnp.moveaxis(added_BJHKV, 1, 0)
    state_BHKV, before_JBHKV = jax.lax.scan(advance, state_BHKV, by_chunk)
    read_BJIHV = jnp.einsum("BJIHK,JBHKV->BJIHV", q_BJIGK, before_JBHKV)
    y_BJIHV += read_BJIHV * from_start_BJIA[..., None]
    return y_BJIHV.reshape(y_BJIHV.shape[0], -1, *y_BJIHV.shape[3:])[:, :L], state_BHKV


def recur_flops(length: int, chunk: int, *, groups: int, heads: int, key_size: int, value_size: int) -> float:
    """Forward FLOPs of the matrix products of `recur` over a row; masked pairs and filled up chunks included."""
    size = chunk_length(length, chunk)
    pairs = 2.0 * size * (groups * key_size + heads * value_size)
    states = 4.0 * heads * key_size * value_size
    return -(-length // size) * size * (pairs + states)


def chunk_length(length: int, chunk: int) -> int:
    """The shortest chunk that divides a row into as few parts as chunks of `chunk` do: little is filled up."""
    parts = -(-length // chunk)
    return -(-length // parts)


def _chunks(x_BL, length: int):
    """x_BJC…; the last chunk is filled up with zeros: not valid, no reset."""
    B, L, *rest = x_BL.shape
    parts = -(-L // length)
    filled_BL = jnp.pad(x_BL, [(0, 0), (0, parts * length - L), *[(0, 0)] * len(rest)])
    return filled_BL.reshape(B, parts, length, *rest)


def _decay(log_decay, where):
    """exp(log_decay) where `where`, else 0. What is left out may be positive and is not exponentiated."""
    return jnp.exp(jnp.where(where, log_decay, -jnp.inf))


def over_time(cell: Callable, x_LB, state, *, valid_BL, reset_BL):
    """(y_LB…, the last state): `cell(state, x_B) -> (state, y_B)` from position to position.

    Args:
      x_LB: time first, as the loop takes it.
      state: a pytree of [B, D].
    """

    def advance(state, now):
        x_B, valid_B, reset_B = now
        state = jax.tree.map(lambda old_BD: jnp.where(reset_B[:, None], 0, old_BD), state)
        new, y_B = cell(state, x_B)
        return jax.tree.map(lambda new_BD, old_BD: jnp.where(valid_B[:, None], new_BD, old_BD), new, state), y_B

    state, y_LB = jax.lax.scan(advance, state, (x_LB, valid_BL.T, reset_BL.T))
    return y_LB, state


@checked
def causal_convolution(
    x_BLE: Float[Array, "B L E"],
    taps_WE: Float[Array, "W E"],
    past_BPE: Float[Array, "B P E"],
    *,
    valid_BL: Bool[Array, "B L"],
    reset_BL: Bool[Array, "B L"],
) -> tuple[Float[Array, "B L E"], Float[Array, "B P E"]]:
    """y_t = Σ_w taps_w x_(t - W + 1 + w), each channel by itself: (y_BLE, the next call's past).

    Valid positions are contiguous in a row. No tap reads across a reset or from padding; zeros stand there.

    Args:
      past_BPE: the P = W - 1 valid inputs before this call, zeros where there were none.
    """
    L, W = x_BLE.shape[1], taps_WE.shape[0]
    inputs_BME = jnp.concatenate([past_BPE, jnp.where(valid_BL[..., None], x_BLE, 0)], axis=1)
    # Row t of the inputs is position t - W + 1; what was before this call counts to its first run, 0.
    run_BL = jnp.cumsum(reset_BL.astype(jnp.int32), axis=1)
    run_BM = jnp.pad(run_BL, ((0, 0), (W - 1, 0)))
    y_BLE = jnp.zeros_like(x_BLE, jnp.float32)
    for w in range(W):
        same_BL1 = (run_BM[:, w : w + L] == run_BL)[..., None]
        y_BLE += jnp.where(same_BL1, inputs_BME[:, w : w + L], 0).astype(jnp.float32) * taps_WE[w]
    inputs_BME = jnp.where((run_BM == run_BM[:, -1:])[..., None], inputs_BME, 0)
    end_BP = valid_BL.sum(-1, dtype=jnp.int32)[:, None] + jnp.arange(W - 1)
    return y_BLE.astype(x_BLE.dtype), jnp.take_along_axis(inputs_BME, end_BP[..., None], axis=1)
