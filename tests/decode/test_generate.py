"""Generation with a cache equals generation by full forward passes; sampling is what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import FAMILIES, VOCAB, init, small_arch, small_batch

from transformer_jax.batch import Batch
from transformer_jax.data.views.base import Prompt
from transformer_jax.decode.generate import generate
from transformer_jax.decode.generator import _mesh_here, pad_prompts
from transformer_jax.decode.sampling import Sampling, filter_logits, next_token
from transformer_jax.errors import UserError
from transformer_jax.parallel.mesh import AXES


def prompts_of(family, lengths):
    batch = small_batch(family, rows=len(lengths))
    sources = [None] * len(lengths) if batch.source_BM is None else list(batch.source_BM)
    return [Prompt(batch.tokens_BL[i, :n], sources[i]) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("position", ["rope", "t5", "learned"])
def test_greedy_equals_full_forward_for_unequal_prompts(family, position):
    # Tables and distances beyond the small rows of the other tests.
    position = "learned(length=40)" if position == "learned" else position
    arch = small_arch(family=family, position=position)
    model, params = init(arch)
    prompts, eos = prompts_of(family, [5, 1, 8]), 1
    ours = generate(arch, params, pad_prompts(prompts, 3), jax.random.key(0), sampling=Sampling(), max_new=10, eos=eos)
    forward = jax.jit(lambda p, b: model.apply({"params": p}, b))
    for row, prompt in zip(np.asarray(ours), prompts, strict=True):
        tokens = list(prompt.tokens_L)
        for new in row:
            width = 24  # padded, so that one length is compiled
            one = np.zeros((1, width), np.int32)
            one[0, : len(tokens)] = tokens
            valid = (np.arange(width) < len(tokens)).astype(np.int32)[None]
            batch = Batch(one, one, valid, np.arange(width, dtype=np.int32)[None], valid, valid)
            if prompt.source_M is not None:
                ones = np.ones((1, len(prompt.source_M)), np.int32)
                positions = np.arange(len(prompt.source_M), dtype=np.int32)[None]
                batch = batch.replace(
                    source_BM=prompt.source_M[None], source_positions_BM=positions, source_segments_BM=ones
                )
            best = int(forward(params, jax.tree.map(jnp.asarray, batch))[0, len(tokens) - 1].argmax())
            assert new == best
            tokens.append(best)
            if best == eos:
                break


def test_nothing_follows_eos():
    arch = small_arch()
    _, params = init(arch)
    prompts = pad_prompts(prompts_of("decoder_only", [4, 4]), 2)
    free = np.asarray(generate(arch, params, prompts, jax.random.key(0), sampling=Sampling(), max_new=8, eos=-1))
    eos = int(free[0, 3])
    ended = np.asarray(generate(arch, params, prompts, jax.random.key(0), sampling=Sampling(), max_new=8, eos=eos))
    at = int(np.flatnonzero(free[0] == eos)[0])
    np.testing.assert_array_equal(ended[0, : at + 1], free[0, : at + 1])
    assert (ended[0, at + 1 :] == 0).all()


def test_one_program_serves_prompts_of_many_lengths():
    arch = small_arch()
    _, params = init(arch)
    before = generate._cache_size()
    for lengths in ([3, 9], [12, 1], [16 - 4, 7]):
        prompts = pad_prompts(prompts_of("decoder_only", lengths), 2)
        generate(arch, params, prompts, jax.random.key(0), sampling=Sampling(), max_new=4, eos=1)
    assert generate._cache_size() == before + 1


def test_top_k_and_top_p_keep_what_they_say():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.125, 0.0625, 0.0625]]))
    kept = lambda **k: np.flatnonzero(np.isfinite(filter_logits(logits, Sampling(temperature=1.0, **k))[0]))  # noqa: E731
    np.testing.assert_array_equal(kept(top_k=2), [0, 1])
    np.testing.assert_array_equal(kept(top_p=0.5), [0])
    np.testing.assert_array_equal(kept(top_p=0.51), [0, 1])
    np.testing.assert_array_equal(kept(top_p=1e-6), [0])
    np.testing.assert_array_equal(kept(), range(5))


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(2.0), Sampling(1.0, top_k=3), Sampling(0.7, top_p=0.8)])
def test_sampled_frequencies(sampling):
    logits = jnp.array([2.0, 1.0, 0.5, 0.0, -1.0])
    draws = 20_000
    tokens = next_token(jnp.tile(logits, (draws, 1)), jax.random.key(0), sampling)
    expected = np.asarray(jax.nn.softmax(filter_logits(logits[None], sampling)[0]))
    seen = np.bincount(np.asarray(tokens), minlength=5) / draws
    # Five standard errors of a proportion.
    assert (np.abs(seen - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws) + 1e-12).all()


@pytest.mark.parametrize("bad", [dict(temperature=-1.0), dict(top_k=-1), dict(top_p=0.0), dict(top_p=1.5)])
def test_bad_sampling_is_refused(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        Sampling(**bad)


def test_padding_rounds_up_to_few_widths():
    prompt = Prompt(np.arange(3, VOCAB - 20, dtype=np.int32))
    assert pad_prompts([prompt], 1).tokens_BL.shape == (1, 64)


def test_a_mesh_that_does_not_fit_is_told(capsys):
    mesh = _mesh_here(dict.fromkeys(AXES, 1) | {"tensor": 2})
    assert mesh.size == 1 and "does not fit this machine" in capsys.readouterr().err
