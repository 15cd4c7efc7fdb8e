"""Beam search."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from transformer_jax.batch import Batch
from transformer_jax.decode.cache import prefill, read_on, take_rows
from transformer_jax.decode.sampling import Sampling, mark_seen, penalise
from transformer_jax.decode.written import is_end
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.layers import split
from transformer_jax.shapes import Array

_NEVER = -1e9  # the score of what must not be chosen


@dataclass(frozen=True)
class Beams:
    """How a beam search goes; what it means is what it means in transformers' `generate`.

    Attributes:
      size: how many unfinished answers are kept.
      length_penalty: a finished answer's score is its log-probability divided by its number of tokens (the end token
        included) to this power: 0 compares log-probabilities, more favours long answers (Wu et al. 2016,
        arXiv 1609.08144, sec. 7, have another form of it).
      early_stopping: True ends with `size` finished answers. Otherwise it ends when the best unfinished answer cannot
        overtake the worst of them: as if it ended now (False), or as if it still grew as long as it may ('never',
        where it matters: with a positive length penalty).

    Raises:
      UserError: for values out of range.
    """

    size: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self):
        if self.size < 1:
            raise UserError(f"beams={self.size}: give at least 1")
        if not -100 <= self.length_penalty <= 100:
            raise UserError(f"length_penalty={self.length_penalty}: give a number from -100 to 100; 0 is off")
        if self.early_stopping not in (True, False, "never"):
            raise UserError(f"early_stopping={self.early_stopping!r}: give True, False or 'never'")

    def divisors(self, room: int) -> np.ndarray:
        """What log-probabilities of answers of 1, 2, … tokens are divided by."""
        with np.errstate(over="ignore"):
            return (np.arange(1, room + 1, dtype=np.float64) ** self.length_penalty).astype(np.float32)


@struct.dataclass
class Hypotheses:
    """Answers of each row, the best first: tokens_BKT, how many tokens of them count, scores, whether they ended."""

    tokens_BKT: Array
    count_BK: Array
    score_BK: Array
    ended_BK: Array

    def take(self, index_BJ) -> "Hypotheses":
        """Some of each row's, in another order."""
        return jax.tree.map(lambda x: _along(x, index_BJ), self)

    def best(self, k: int) -> "Hypotheses":
        return self.take(jax.lax.top_k(self.score_BK, k)[1])

    def beside(self, other: "Hypotheses") -> "Hypotheses":
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), self, other)


@struct.dataclass
class _Search:
    """Between two steps: what is still written (scores are log-probabilities), and what has ended.

    `open_B`: whether a row may still find something better.
    """

    step: Array
    running: Hypotheses
    ended: Hypotheses
    open_B: Array
    cache: dict
    seen_BKV: Array | None


@partial(jax.jit, static_argnames=("arch", "beams", "sampling", "room", "eos", "early_stopping"))
def _search(
    arch: Arch, params, prompt: Batch, done_B, limit, divisor_T, *, beams, sampling, room, eos, early_stopping, heads
) -> Hypotheses:
    arch, params = split(arch, params)
    B, L = prompt.tokens_BL.shape
    logits_BV, cache, length_B = prefill(arch, params, prompt, L + room, heads)
    V = logits_BV.shape[-1]
    cache = take_rows(cache, jnp.repeat(jnp.arange(B), beams), with_memory=True)
    seen_BKV = None
    if sampling.remembers:
        seen_BV = mark_seen(jnp.zeros((B, V), bool), prompt.tokens_BL, prompt.segments_BL > 0)
        seen_BKV = jnp.repeat(seen_BV[:, None], beams, axis=1)
    nothing = Hypotheses(
        jnp.zeros((B, beams, room), jnp.int32),
        jnp.zeros((B, beams), jnp.int32),
        jnp.full((B, beams), _NEVER),
        jnp.zeros((B, beams), bool),
    )
    # All beams are equal at first: only the first one counts.
    running = nothing.replace(score_BK=nothing.score_BK.at[:, 0].set(0.0))
    choose = partial(
        _choose, divisor_T=divisor_T, limit=limit, sampling=sampling, eos=eos, early_stopping=early_stopping
    )
    search = _Search(jnp.int32(0), running, nothing, ~done_B, cache, seen_BKV)
    search = choose(search, jnp.repeat(logits_BV[:, None], beams, axis=1))

    def unfinished(search):
        return (search.step < limit) & search.open_B.any()

    def step(search):
        token_BK = jax.lax.dynamic_index_in_dim(search.running.tokens_BKT, search.step - 1, axis=2, keepdims=False)
        position_B = jnp.repeat(length_B + search.step - 1, beams)
        logits_C1V, cache = read_on(
            arch,
            params,
            search.cache,
            token_BK.reshape(-1, 1),
            position_B,
            parts=prompt.parts_BL is not None,
            heads=heads,
        )
        return choose(search.replace(cache=cache), logits_C1V.reshape(B, beams, V))

    return jax.lax.while_loop(unfinished, step, search).ended


def _choose(search: _Search, logits_BKV, *, divisor_T, limit, sampling, eos, early_stopping) -> _Search:
    """One more token: the most likely continuations of all beams go on, or have ended."""
    B, K, V = logits_BKV.shape
    score_BKV = jax.nn.log_softmax(logits_BKV)
    if sampling.remembers:
        flat = penalise(score_BKV.reshape(-1, V), search.seen_BKV.reshape(-1, V), sampling.repetition_penalty)
        score_BKV = flat.reshape(B, K, V)
    score_BKV += search.running.score_BK[..., None]
    # So many that at least K of them go on, even if each beam is best continued by an end.
    n_kept = max(2, 1 + len(eos)) * K
    score_BJ, index_BJ = jax.lax.top_k(score_BKV.reshape(B, -1), n_kept)
    beam_BJ, token_BJ = index_BJ // V, (index_BJ % V).astype(jnp.int32)
    count = search.step + 1
    tokens_BJT = jax.lax.dynamic_update_index_in_dim(
        _along(search.running.tokens_BKT, beam_BJ), token_BJ, search.step, axis=2
    )
    ends_BJ = is_end(token_BJ, eos) | (count >= limit)
    found = Hypotheses(tokens_BJT, jnp.full((B, n_kept), count, jnp.int32), score_BJ, ends_BJ)

    going_on = found.replace(score_BK=jnp.where(ends_BJ, score_BJ + _NEVER, score_BJ))
    next_BK = jax.lax.top_k(going_on.score_BK, K)[1]
    running = going_on.take(next_BK)
    parent_BK = _along(beam_BJ, next_BK)

    # An end counts only among the K best continuations, and only while the row looks for one.
    counts_BJ = ends_BJ & (jnp.arange(n_kept) < K)
    wanted_B = search.open_B
    if early_stopping is True:
        wanted_B &= ~search.ended.ended_BK.all(1)
    score_BJ = jnp.where(counts_BJ & wanted_B[:, None], score_BJ / divisor_T[count - 1], _NEVER)
    found = found.replace(score_BK=score_BJ, ended_BK=counts_BJ & wanted_B[:, None])
    ended = search.ended.beside(found).best(K)

    best_length = jnp.where(early_stopping == "never", limit, count)
    open_B = search.open_B & _can_improve(running, ended, divisor_T[best_length - 1])
    if early_stopping is True:
        open_B &= ~ended.ended_BK.all(1)
    row_C = (jnp.arange(B)[:, None] * K + parent_BK).reshape(-1)
    cache = take_rows(search.cache, row_C, with_memory=False)
    seen_BKV = search.seen_BKV
    if seen_BKV is not None:
        seen_BKV = _along(seen_BKV, parent_BK)
        written_C1 = _along(token_BJ, next_BK).reshape(-1, 1)
        seen_BKV = mark_seen(seen_BKV.reshape(-1, V), written_C1, jnp.ones_like(written_C1, bool)).reshape(B, K, V)
    return _Search(count, running, ended, open_B, cache, seen_BKV)


def _can_improve(running: Hypotheses, ended: Hypotheses, divisor):
    """Whether the best unfinished answer, at its best length, would beat one of the ended ones."""
    best_B = running.score_BK[:, 0] / divisor
    worst_B = jnp.where(ended.ended_BK.all(1), ended.score_BK.min(1), _NEVER)
    return best_B > worst_B


def _along(x, index_BJ):
    """x[b, index_BJ[b, j]], whatever follows."""
    return jax.vmap(lambda row, index: row[index])(x, index_BJ)


def beam_search(
    arch: Arch,
    params,
    prompt: Batch,
    *,
    beams: Beams,
    max_new: int,
    room: int,
    eos: tuple[int, ...],
    sampling: Sampling | None = None,
    done_B=None,
    heads=None,
) -> Hypotheses:
    """The answers that a beam search finds, `beams.size` per row, the best first.

    Args:
      max_new, room: tokens per answer at most, and tokens that there is room for.
      eos: the end tokens.
      sampling: only its repetition penalty is read, and applied to log-probabilities.
      done_B: rows that need no answer; None for none.

    Raises:
      UserError: if the vocabulary is too small.
    """
    eos = tuple(token for token in eos if token >= 0)
    if max(2, 1 + len(eos)) > arch.dims.vocab:
        raise UserError(f"beams={beams.size}: too many for a vocabulary of {arch.dims.vocab}")
    done_B = np.zeros(prompt.tokens_BL.shape[0], bool) if done_B is None else done_B
    # Without a positive length penalty an unfinished answer is at its best now.
    never = beams.early_stopping == "never" and beams.length_penalty > 0
    return _search(
        arch,
        params,
        prompt,
        done_B,
        max_new,
        beams.divisors(room),
        beams=beams.size,
        sampling=Sampling(repetition_penalty=(sampling or Sampling()).repetition_penalty),
        room=room,
        eos=eos,
        early_stopping=True if beams.early_stopping is True else "never" if never else False,
        heads=heads,
    )
