"""Prefill and steps: the jitted loop that generates."""

from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.batch import Batch
from transformer_jax.decode.sampling import Sampling, next_token
from transformer_jax.model.arch import Arch
from transformer_jax.model.transformer import families


@partial(jax.jit, static_argnames=("arch", "sampling", "max_new", "eos"))
def generate(arch: Arch, params, prompt: Batch, key, *, sampling: Sampling, max_new: int, eos: int, heads=None):
    """Continues each row of `prompt`.

    One prefill over the right-padded prompts, then single steps until every row has written `eos` or
    `max_new` tokens. Rows of unequal length share the cache: padding stays a masked hole, and positions are
    the rows' own.

    Args:
      prompt: segment 1 on tokens, 0 on padding; targets, weights and bytes are not read.

    Returns:
      tokens_BT, int32, T = max_new; 0 after `eos`.
    """
    model = families.build(arch.family, arch=arch)
    B, L = prompt.tokens_BL.shape
    length_B = (prompt.segments_BL > 0).sum(-1)
    # The last token written is never read again, so it needs no slot.
    apply = partial(model.apply, mutable=["cache"], heads=heads, cache_len=L + max_new - 1)
    logits_BLV, cache = apply({"params": params}, prompt)
    logits_BV = jnp.take_along_axis(logits_BLV, length_B[:, None, None] - 1, axis=1)[:, 0]
    first_B = next_token(logits_BV, jax.random.fold_in(key, 0), sampling)
    tokens_BT = jnp.zeros((B, max_new), jnp.int32).at[:, 0].set(first_B)

    def unfinished(carry):
        step, _, _, done_B = carry
        return (step < max_new) & ~done_B.all()

    def advance(carry):
        step, tokens_BT, cache, done_B = carry
        token_B1 = jax.lax.dynamic_slice_in_dim(tokens_BT, step - 1, 1, axis=1)
        ones_B1 = jnp.ones((B, 1), jnp.int32)
        position_B1 = (length_B + step - 1)[:, None].astype(jnp.int32)
        batch = Batch(token_B1, token_B1, ones_B1, position_B1, ones_B1, ones_B1)
        logits_B1V, cache = apply({"params": params, **cache}, batch)
        new_B = next_token(logits_B1V[:, 0], jax.random.fold_in(key, step), sampling)
        new_B = jnp.where(done_B, 0, new_B)
        tokens_BT = tokens_BT.at[:, step].set(new_B)
        return step + 1, tokens_BT, cache, done_B | (new_B == eos)

    _, tokens_BT, _, _ = jax.lax.while_loop(unfinished, advance, (1, tokens_BT, cache, first_B == eos))
    return tokens_BT
