"""What single variants promise beyond the contract that all of them share."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import FAMILIES, VOCAB, L, fresh, hyper_of, init, small_arch, small_batch, small_config

from transformer_jax.model.arch import Arch
from transformer_jax.model.family import families
from transformer_jax.model.position import positions
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.train.evaluation import place
from transformer_jax.train.loop import compiled_program


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def with_length(arch: Arch, length: int) -> Arch:
    return dataclasses.replace(arch, dims=dataclasses.replace(arch.dims, length=length))


@pytest.mark.parametrize("name", positions.names())
def test_positions_past_the_training_length_are_defined_or_end(name):
    """Rows three times as long as trained on: finite logits; or the scheme says where it ends."""
    arch = with_length(small_arch(position=name), L)
    limit = positions.build(name, arch=arch, causal=True).limit
    if limit is not None and limit < 3 * L:
        assert name == "learned" and limit == L
        return
    model, params = init(arch)
    batch = on_device(small_batch("decoder_only", length=3 * L))
    assert jnp.isfinite(jax.jit(model.apply)({"params": params}, batch)).all()


def test_dynamic_ntk_is_rope_up_to_the_trained_length_and_stretched_behind_it():
    rope, dynamic = (
        families.build("decoder_only", arch=with_length(small_arch(position=name), L))
        for name in ("rope", "rope_dynamic_ntk")
    )
    params = fresh(rope)
    short, long = (on_device(small_batch("decoder_only", length=length)) for length in (L, 2 * L))
    np.testing.assert_array_equal(rope.apply({"params": params}, short), dynamic.apply({"params": params}, short))
    assert jnp.abs(rope.apply({"params": params}, long) - dynamic.apply({"params": params}, long)).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("top", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_experts_with_room_for_all_drop_nothing(family, top):
    (dropless, params), limited = (
        init(small_arch(family=family, ffn=f"moe(top={top})")),
        families.build(family, arch=small_arch(family=family, ffn=f"moe(top={top}, capacity={4 / top})")),
    )
    batch = on_device(small_batch(family))
    # The same sums in another order, on logits of magnitude 10.
    a, b = (model.apply({"params": params}, batch) for model in (dropless, limited))
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_router_is_logged_and_its_loss_is_minimised(accumulate):
    config = small_config(ffn="moe(capacity=0.5)")
    config.data.batch_size, config.optim.accumulate = 4, accumulate
    program = compiled_program(config, VOCAB, make_mesh(config.mesh, jax.devices()[:1]))
    batch = jax.tree.map(lambda x: np.asarray(x)[None], small_batch("decoder_only", rows=4))
    hyper = hyper_of(program, config)
    _, metrics = program.train(program.init(hyper), place(program, batch, leading=1), hyper)
    assert set(metrics.reported) == {"ffn/dropped", "ffn/expert_load_max", "ffn/router_entropy"}
    assert 0.4 < float(metrics.reported["ffn/dropped"][0]) < 1  # at least half of the assignments find no slot
    assert 1 <= float(metrics.reported["ffn/expert_load_max"][0]) <= 4
    assert 0 < float(metrics.reported["ffn/router_entropy"][0]) <= math.log(4)
    # Two layers, each 0.01 E Σ f P, which is 1 when experts are used alike.
    extra = float((metrics.loss.total - metrics.loss.nats)[0] / metrics.loss.tokens[0])
    assert 0.01 < extra < 0.05


@pytest.mark.parametrize("key, spec, plain", [("residual", "layerdrop(rate=0.5)", "pre"), ("mixer", "drophead", "mha")])
def test_what_is_random_is_so_in_training_alone(key, spec, plain):
    batch = on_device(small_batch("decoder_only"))
    model, params = init(small_arch(**{key: spec}))
    base = families.build("decoder_only", arch=small_arch(**{key: plain}))
    np.testing.assert_array_equal(model.apply({"params": params}, batch), base.apply({"params": params}, batch))
    first, again, other = (
        model.apply({"params": params}, batch, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("mixer", ["linear", "retention", "lstm", "gru", "mamba2"])
def test_recurrences_decode_with_constant_memory(mixer):
    model, params = init(small_arch(mixer=mixer, position="none"))
    batch = on_device(small_batch("decoder_only"))

    def shapes(slots):
        _, cache = jax.eval_shape(
            lambda p, b: model.apply({"params": p}, b, mutable=["cache"], cache_len=slots), params, batch
        )
        return jax.tree.map(lambda x: x.shape, cache["cache"]["decoder"]["layers"])

    assert shapes(L + 1) == shapes(50 * L)


def test_gains_scale_the_initial_values():
    """DeepNorm's β = (8 N)^(-1/4) on values, outputs and the feed-forward; GPT-2's 1 / sqrt(2 N) on outputs."""
    plain, deep, scaled = (
        fresh(families.build("decoder_only", arch=small_arch(residual=name)))["decoder"]["layers"]
        for name in ("pre", "deepnorm", "depth_scaled")
    )
    beta, depth = (8 * 2) ** -0.25, 2
    for path, factor in {("attention", "value"): beta, ("attention", "query"): 1.0, ("ffn", "in"): beta}.items():
        np.testing.assert_allclose(deep[path[0]][path[1]], factor * plain[path[0]][path[1]], rtol=1e-6)
    for part in ("attention", "ffn"):
        np.testing.assert_allclose(scaled[part]["out"], plain[part]["out"] / math.sqrt(2 * depth), rtol=1e-6)
        np.testing.assert_allclose(deep[part]["out"], beta * plain[part]["out"], rtol=1e-6)


def test_hyper_connections_start_as_pre_norm():
    pre, hyper = (
        families.build("decoder_only", arch=small_arch(residual=name)) for name in ("pre", "hyper_connections")
    )
    batch = on_device(small_batch("decoder_only"))
    a, b = (model.apply({"params": fresh(model)}, batch) for model in (pre, hyper))
    np.testing.assert_allclose(a, b, atol=5e-5)  # a sum of four streams, on logits of magnitude 5
