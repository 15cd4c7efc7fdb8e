"""Logits of some positions at a time: the loss, its gradients and what is counted are those of all at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models import VOCAB, L, init, small_arch, small_batch, small_config, with_execution

from transformer_jax.objective import log_z_and_target
from transformer_jax.plan.traced import trace
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loss import BatchLoss, chunked, whole
from transformer_jax.train.step import Recipe, Step

# Sums over chunks in another order, float32.
TOLERANCE = 2e-6


def relative(a, b):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, a, b)) / optax.tree.norm(b))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "linear(bias=True, softcap=20.0, scale=0.5)", "tied_embeddings": False},
        {"family": "encoder_decoder", "head": "transform"},
    ],
    ids=["plain", "own-table", "transform"],
)
def test_chunks_change_nothing_but_rounding(changes):
    arch = small_arch(**changes)
    batch = jax.tree.map(jnp.asarray, small_batch(arch.family, rows=3))
    params = init(arch)[1]
    options = {"label_smoothing": jnp.float32(0.1), "z_loss": jnp.float32(1e-3)}

    def loss(count):
        objective = BatchLoss(with_execution(arch, logits_chunks=count))

        def total(params, options):
            found, scored, _ = objective(params, batch, **options)
            return found.total, (found, scored.hit_BL)

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, options)

    (_, (one, hits)), gradients = loss(1)
    for count in (2, L):
        (_, (found, found_hits)), found_gradients = loss(count)
        np.testing.assert_array_equal(found_hits, hits)
        assert relative(found, one) < TOLERANCE
        assert relative(found_gradients[0], gradients[0]) < TOLERANCE


def test_a_chunk_is_every_nth_position():
    x_BLD = jnp.arange(2 * 6 * 3).reshape(2, 6, 3)
    np.testing.assert_array_equal(chunked(x_BLD, 2)[1], x_BLD[:, 1::2])
    np.testing.assert_array_equal(whole(chunked(x_BLD[..., 0], 3)), x_BLD[..., 0])


def test_the_gradient_in_one_pass_is_that_of_jax():
    key = jax.random.key(0)
    logits_BLV = 5.0 * jax.random.normal(key, (2, 3, 7))
    targets_BL = jax.random.randint(key, (2, 3), 0, 7)
    by_z, by_t = jax.random.normal(key, (2, 2, 3))

    def plain(logits_BLV):
        return jax.nn.logsumexp(logits_BLV, -1), jnp.take_along_axis(logits_BLV, targets_BL[..., None], -1)[..., 0]

    (mine, pull), (theirs, plain_pull) = (
        jax.vjp(function, logits_BLV) for function in (lambda x: log_z_and_target(x, targets_BL), plain)
    )
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(pull((by_z, by_t))[0], plain_pull((by_z, by_t))[0], atol=1e-6)


def test_no_array_is_as_large_as_all_logits():
    config = small_config(logits_chunks=4)
    arch = small_arch(logits_chunks=4)
    step, hyper = Step(arch, Recipe.from_config(config)), Hyper.from_config(config, arch)
    batch = jax.tree.map(jnp.asarray, small_batch("decoder_only", rows=3))
    params = init(arch)[1]
    text = str(jax.make_jaxpr(step.gradients)(params, batch, jax.random.key(0), hyper))
    assert f"[3,{L // 4},{VOCAB}]" in text and f"[3,{L},{VOCAB}]" not in text


def test_a_plan_follows_the_chunks():
    config = small_config(logits_chunks=4)
    arch = small_arch(logits_chunks=4)
    step = Step(arch, Recipe.from_config(config))
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, small_batch("decoder_only", rows=3)))
    found = trace(step, batch, jax.eval_shape(lambda: Hyper.from_config(config, arch)))
    assert found.kept and not [kept for kept in found.kept if kept.of_batch and kept.size == 3 * L * VOCAB]
