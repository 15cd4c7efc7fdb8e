"""Speculative decoding: a small model writes ahead, a large one reads that at once and keeps what it may."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from transformer_jax.batch import Batch
from transformer_jax.decode.cache import prefill, read_on, take_back
from transformer_jax.decode.sampling import Sampling, final_logits, mark_seen, next_token
from transformer_jax.decode.written import Written
from transformer_jax.model.arch import Arch
from transformer_jax.model.ffn import ffns
from transformer_jax.model.layers import split
from transformer_jax.model.mixer import mixers
from transformer_jax.model.mixer.recurrent import Recurrent
from transformer_jax.model.position import positions
from transformer_jax.model.residual import residuals
from transformer_jax.shapes import Array, Float, Int, checked


@checked
def verify(
    draft_BJ: Int[Array, "B J"], q_BJV: Float[Array, "B J V"], p_BIV: Float[Array, "B I V"], key_B
) -> tuple[Int[Array, "B I"], Int[Array, " B"]]:
    """Accepts a prefix of the draft and adds one token, so that all are distributed as p says (algorithm 1).

    Leviathan et al. 2023, arXiv 2211.17192: x ~ q is kept with probability min(1, p(x) / q(x)), and the first one that
    is not is replaced by a draw from max(0, p - q), normalised; behind a draft that is kept whole comes a draw from p.

    Args:
      draft_BJ: drawn from q_BJV.
      p_BIV: what should be drawn from, for the J tokens and the one behind them: I = J + 1.

    Returns:
      the tokens, and how many of each row are valid: 1 to I.
    """
    J = draft_BJ.shape[1]
    keys_B2 = jax.vmap(jax.random.split)(key_B)
    uniform_BJ = jax.vmap(lambda key: jax.random.uniform(key, (J,)))(keys_B2[:, 0])
    of_draft = partial(jnp.take_along_axis, indices=draft_BJ[..., None], axis=2)
    accepted_BJ = uniform_BJ * of_draft(q_BJV)[..., 0] < of_draft(p_BIV[:, :J])[..., 0]
    n_B = jnp.cumprod(accepted_BJ.astype(jnp.int32), axis=1).sum(1)
    behind = partial(jnp.take_along_axis, indices=n_B[:, None, None], axis=1)
    p_BV = behind(p_BIV)[:, 0]
    rest_BV = jnp.maximum(p_BV - behind(jnp.pad(q_BJV, ((0, 0), (0, 1), (0, 0))))[:, 0], 0.0)
    # Nothing is left where p = q up to rounding, and then nothing is refused either, but for rounding.
    rest_BV = jnp.where(rest_BV.sum(1, keepdims=True) > 0, rest_BV, p_BV)
    token_B = jax.vmap(jax.random.categorical)(keys_B2[:, 1], jnp.log(rest_BV))
    index_I = jnp.arange(J + 1)
    tokens_BI = jnp.where(index_I < n_B[:, None], jnp.pad(draft_BJ, ((0, 0), (0, 1))), token_B[:, None])
    return tokens_BI.astype(jnp.int32), n_B + 1


@struct.dataclass
class Reader:
    """A model on its way through the answers: its cache, and the lengths of its own prompts."""

    cache: dict
    length_B: Array
    parts: bool = struct.field(pytree_node=False)

    def position(self, written: Written):
        """Of the token written last, which is the first that the model has not read."""
        return self.length_B + written.count_B - 1


@struct.dataclass
class Speculating:
    """The state between two rounds. Written answers have room for a draft behind the limit."""

    written: Written
    target: Reader
    draft: Reader
    key_B: Array
    round: Array
    seen_BV: Array | None


@partial(jax.jit, static_argnames=("arches", "sampling", "room", "window", "eos"))
def start(arches, params, prompts, key_B, done_B, limit, *, sampling: Sampling, room, window, eos, heads=(None, None)):
    """Reads the prompts with both models and writes the first token of each row that is not done.

    Args:
      arches, params, prompts, heads: of (target, draft); each has prompts of its own, which may differ.
      limit, room: tokens per row at most, and tokens that there is room for.
      window: how many tokens are written ahead.
    """
    arches, params = zip(*map(split, arches, params), strict=True)
    readers = []
    for arch, own, prompt, mask in zip(arches, params, prompts, heads, strict=True):
        slots = prompt.tokens_BL.shape[1] + room + window + 1
        logits_BV, cache, length_B = prefill(arch, own, prompt, slots, mask)
        # Padding behind a row's prompt is in nobody's way: it is overwritten.
        cache = take_back(cache, jnp.zeros_like(length_B), length_B, prompt.tokens_BL.shape[1])
        readers.append((Reader(cache, length_B, prompt.parts_BL is not None), logits_BV))
    (target, logits_BV), (draft, _) = readers
    seen_BV = None
    if sampling.remembers:
        seen_BV = _seen(prompts[0], logits_BV.shape[-1])
    token_B1 = next_token(logits_BV, jax.vmap(jax.random.fold_in, (0, None))(key_B, 0), sampling, seen_BV)[:, None]
    if seen_BV is not None:
        seen_BV = mark_seen(seen_BV, token_B1, jnp.ones_like(token_B1, bool))
    written = Written.empty(done_B, room + window + 1).add(token_B1, jnp.ones_like(target.length_B), limit, eos)
    return Speculating(written, target, draft, key_B, jnp.int32(1), seen_BV)


def _seen(prompt: Batch, vocab: int):
    nothing_BV = jnp.zeros((prompt.tokens_BL.shape[0], vocab), bool)
    return mark_seen(nothing_BV, prompt.tokens_BL, prompt.segments_BL > 0)


@partial(jax.jit, static_argnames=("arches", "sampling", "window", "eos"), donate_argnames="state")
def advance(
    arches, params, state: Speculating, until, limit, *, sampling: Sampling, window, eos, heads=(None, None)
) -> Speculating:
    """Goes on in rounds until every row is done or has at least `until` tokens. The state is donated."""
    arches, params = zip(*map(split, arches, params), strict=True)

    def unfinished(state):
        return (~state.written.done_B & (state.written.count_B < until)).any()

    def one_round(state):
        key_B = jax.vmap(jax.random.fold_in, (0, None))(state.key_B, state.round)
        keys_B2 = jax.vmap(jax.random.split)(key_B)
        draft_cache, tokens_BI, q_BJV, seen_BIV = _write_ahead(
            arches[1], params[1], state, keys_B2[:, 0], sampling, window, heads[1]
        )
        position_B = state.target.position(state.written)
        logits_BIV, cache = read_on(
            arches[0],
            params[0],
            state.target.cache,
            tokens_BI,
            position_B,
            parts=state.target.parts,
            heads=heads[0],
        )
        p_BIV = jax.vmap(lambda logits, seen: _distribution(logits, sampling, seen), 1, 1)(logits_BIV, seen_BIV)
        new_BI, count_B = verify(tokens_BI[:, 1:], q_BJV, p_BIV, keys_B2[:, 1])
        written = state.written.add(new_BI, count_B, limit, eos)
        kept_B = written.count_B - state.written.count_B
        seen_BV = state.seen_BV
        if seen_BV is not None:
            seen_BV = mark_seen(seen_BV, new_BI, jnp.arange(window + 1) < kept_B[:, None])
        target, draft = (
            reader.replace(cache=take_back(cache, reader.position(state.written), kept_B, window + 1))
            for reader, cache in ((state.target, cache), (state.draft, draft_cache))
        )
        return Speculating(written, target, draft, state.key_B, state.round + 1, seen_BV)

    return jax.lax.while_loop(unfinished, one_round, state)


def _write_ahead(arch: Arch, params, state: Speculating, key_B, sampling: Sampling, window: int, heads):
    """What the draft model writes behind each row.

    It also reads its last token, of which nothing is drawn: then its cache has what the target's has.

    Returns:
      its cache; the last token of the row and the draft behind it; the distributions that the draft was drawn from;
      and the tokens seen before each place, or None.
    """
    position_B = state.draft.position(state.written)

    def step(carry, i):
        cache, token_B, seen_BV = carry
        logits_B1V, cache = read_on(
            arch, params, cache, token_B[:, None], position_B + i, parts=state.draft.parts, heads=heads
        )
        logits_BV = logits_B1V[:, 0]
        keys = jax.vmap(jax.random.fold_in, (0, None))(key_B, i)
        new_B = next_token(logits_BV, keys, sampling, seen_BV)
        q_BV = _distribution(logits_BV, sampling, seen_BV)
        after_BV = None if seen_BV is None else mark_seen(seen_BV, new_B[:, None], jnp.ones_like(new_B, bool)[:, None])
        return (cache, new_B, after_BV), (token_B, q_BV, seen_BV)

    carry = (state.draft.cache, state.written.last_B, state.seen_BV)
    (cache, _, _), found = jax.lax.scan(step, carry, jnp.arange(window + 1))
    token_BI, q_BIV, seen_BIV = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found)
    return cache, token_BI, q_BIV[:, :window], seen_BIV


def _distribution(logits_BV, sampling: Sampling, seen_BV):
    return jax.nn.softmax(final_logits(logits_BV, sampling, seen_BV))


def problems(target: Arch, draft: Arch) -> list[str]:
    """Why these two cannot decode together."""
    found = []
    for role, arch in (("the model", target), ("the draft model", draft)):
        for spec in arch.of("decoder").parts.distinct("mixer"):
            if issubclass(mixers.lookup(spec), Recurrent):
                found.append(
                    f"{role} has model.mixer={spec!r}, whose state cannot be taken back when a token is refused"
                )
    parts, registries = target.of("decoder").parts, dict(position=positions, mixer=mixers, ffn=ffns)
    used = [(key, spec, registry) for key, registry in registries.items() for spec in parts.distinct(key)]
    used += [("residual", parts.residual, residuals)]
    used += [("cross_mixer", spec, mixers) for spec in parts.distinct("cross_mixer") if target.reads_source]
    found += [
        f"the model has model.{key}={spec!r}, which computes something else when several tokens are read at once"
        for key, spec, registry in used
        if not registry.lookup(spec).cached
    ]
    if target.dims.vocab != draft.dims.vocab:
        found.append(f"the model has {target.dims.vocab} tokens, the draft model {draft.dims.vocab}")
    return found
