"""One token per row and step: greedy decoding and sampling."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from transformer_jax.batch import Batch
from transformer_jax.decode.cache import prefill, read_on
from transformer_jax.decode.prompts import bucket, row_keys
from transformer_jax.decode.sampling import Sampling, mark_seen, next_token
from transformer_jax.decode.written import Written
from transformer_jax.model.arch import Arch
from transformer_jax.model.layers import split
from transformer_jax.shapes import Array


@struct.dataclass
class Writing:
    """The state between two steps.

    Attributes:
      key_B: of each row; its t-th token is drawn with the t-th key folded from it.
      length_B: of the prompts.
      limit: tokens at most, of all rows or of each.
      seen_BV: the tokens that have been there before, or None if nobody asks.
      parts: whether the prompts had parts.
    """

    written: Written
    cache: dict
    key_B: Array
    length_B: Array
    limit: Array
    seen_BV: Array | None
    parts: bool = struct.field(pytree_node=False)


@partial(jax.jit, static_argnames=("arch", "sampling", "room", "eos"))
def start(arch: Arch, params, prompt: Batch, key_B, done_B, limit, *, sampling: Sampling, room: int, eos, heads=None):
    """Reads the prompts and writes the first token of each row that is not done.

    Args:
      limit: tokens per row at most, a number or one for each; data, so that one program serves all.
      room: tokens that there is room for, at least the limit.
    """
    arch, params = split(arch, params)
    # The last token is never read again, but `room` and the width of prompts are powers of two: one slot more or less.
    logits_BV, cache, length_B = prefill(arch, params, prompt, prompt.tokens_BL.shape[1] + room, heads)
    seen_BV = None
    if sampling.remembers:
        seen_BV = mark_seen(jnp.zeros(logits_BV.shape, bool), prompt.tokens_BL, prompt.segments_BL > 0)
    written = Written.empty(done_B, room)
    parts = prompt.parts_BL is not None
    state = Writing(written, cache, key_B, length_B, jnp.asarray(limit, jnp.int32), seen_BV, parts)
    return _written(state, logits_BV, sampling, eos)


@partial(jax.jit, static_argnames=("arch", "sampling", "eos"), donate_argnames="state")
def advance(arch: Arch, params, state: Writing, until, *, sampling: Sampling, eos, heads=None) -> Writing:
    """Goes on until every row is done or has `until` tokens. The state is donated."""
    arch, params = split(arch, params)

    def unfinished(state):
        return (~state.written.done_B & (state.written.count_B < until)).any()

    def step(state):
        # Rows that are not done have all written the same number of tokens; what the others read goes nowhere.
        position_B = state.length_B + jnp.maximum(state.written.count_B, 1) - 1
        token_B1 = state.written.last_B[:, None]
        logits_B1V, cache = read_on(arch, params, state.cache, token_B1, position_B, parts=state.parts, heads=heads)
        return _written(state.replace(cache=cache), logits_B1V[:, 0], sampling, eos)

    return jax.lax.while_loop(unfinished, step, state)


def _written(state: Writing, logits_BV, sampling: Sampling, eos) -> Writing:
    key_B = jax.vmap(jax.random.fold_in)(state.key_B, state.written.count_B)
    token_B1 = next_token(logits_BV, key_B, sampling, state.seen_BV)[:, None]
    if state.seen_BV is not None:
        state = state.replace(seen_BV=mark_seen(state.seen_BV, token_B1, ~state.written.done_B[:, None]))
    return state.replace(written=state.written.add(token_B1, jnp.ones_like(state.length_B), state.limit, eos))


def generate(
    arch: Arch, params, prompt: Batch, key, *, sampling: Sampling, max_new: int, eos: int | tuple[int, ...], heads=None
):
    """Continues each row of `prompt` to the end.

    Args:
      eos: one end token, or several; a negative one never comes.

    Returns:
      tokens_BT, int32, T = max_new; 0 behind an end token.
    """
    eos = (eos,) if isinstance(eos, int) else tuple(eos)
    rows = prompt.tokens_BL.shape[0]
    given = dict(sampling=sampling, eos=eos, heads=heads)
    keys, done_B = row_keys(key, range(rows)), jnp.zeros(rows, bool)
    state = start(arch, params, prompt, keys, done_B, max_new, room=bucket(max_new), **given)
    return advance(arch, params, state, max_new, **given).written.tokens_BT[:, :max_new]
