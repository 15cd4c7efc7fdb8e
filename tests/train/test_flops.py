"""The analytic count of FLOPs against the one that is read from the traced program."""

import jax
import jax.numpy as jnp
import pytest
from models import small_batch, small_config
from variants import case_config, cases

from transformer_jax.model.arch import Arch
from transformer_jax.model.family import families
from transformer_jax.objective import cross_entropy
from transformer_jax.parallel.rules import unbox
from transformer_jax.train.flops import MARGIN, flops_per_token
from transformer_jax.train.step import boxed_params
from transformer_jax.train.traced_flops import count, traced_flops_per_token

CASES = {name: (family, changes) for name, family, changes in cases()}
# What has a formula of its own, or something left out that small models feel most.
DELICATE = [
    name
    for name in CASES
    if any(part in name for part in ("moe", "fire", "log_cpb", "transformer_xl", "hyper", "mamba2", "latent", "linear"))
]


def real_arch(config) -> Arch:
    """Of the size of the default config: 4 layers of width 128, bytes."""
    m = config.model
    m.layers = m.encoder_layers = 4
    m.width, m.heads, m.ffn_size = 128, 4, 512
    config.data.length, config.data.source_length = 128, 96
    return Arch.from_config(config, vocab=259, platform="cpu")


def disagreement(arch: Arch, length: int, source_length: int, rows: int = 8) -> float:
    traced = traced_flops_per_token(arch, length, source_length, rows)
    return flops_per_token(arch, boxed_params(arch), length, source_length, rows) / traced - 1


@pytest.mark.parametrize(
    "name", [name if name.startswith("decoder_only") else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_every_variant_costs_what_is_said(name):
    family, changes = CASES[name]
    assert abs(disagreement(real_arch(case_config(family, changes)), 128, 96)) < MARGIN


@pytest.mark.parametrize("name", DELICATE)
def test_small_models_too(name):
    arch = Arch.from_config(case_config(*CASES[name]), vocab=60, platform="cpu")
    assert abs(disagreement(arch, 20, 11, rows=3)) < MARGIN


@pytest.mark.parametrize(
    "model",
    [
        {"mixer": "mamba2, mha(window=8)", "ffn": "moe, gelu", "position": "none"},
        {"position": "fire, shaw, none", "mixer": "mha(kept=(0, 2))", "layers": 3},
        {"family": "encoder_decoder", "cross_mixer": "none, mha", "encoder_mixer": "retention"},
        {"family": "encoder_decoder", "encoder_layers": 4, "layers": 2},
        {"mixer": "latent(query_rank=16)", "bias": True, "tied_embeddings": False},
        {"mixer": "latent(weights='uniform')"},
        {"residual": "hyper_connections(dynamic=False, streams=2)", "dropout": 0.1},
        {"ffn": "moe(capacity=1.25, experts=6, size=24)", "vocab_multiple": 64},
        {"adapter": "lora(rank=2)", "mixer": "mha(kv_heads=2), lstm", "position": "none"},
        {"adapter": "lora(rank=3, on='*')", "family": "encoder_decoder", "encoder_mixer": "gru", "position": "none"},
        {"family": "encoder_only", "head": "first(classes=9)", "encoder_layers": 3},
    ],
    ids=str,
)
def test_combinations_cost_what_is_said(model):
    config = small_config(**model)
    arch = Arch.from_config(config, vocab=60, platform="cpu")
    assert abs(disagreement(arch, 12, 9)) < MARGIN


def test_a_row_that_does_not_fill_its_chunks():
    arch = Arch.from_config(small_config(mixer="retention(chunk=8)", position="none"), vocab=60, platform="cpu")
    assert abs(disagreement(arch, 12 + 9, 0)) < MARGIN


def test_how_it_is_executed_changes_nothing():
    counts = set()
    for execution in ({}, {"stack": "unroll"}, {"remat": "full"}, {"attention": "xla"}):
        arch = Arch.from_config(small_config(layers=4, **execution), vocab=60, platform="cpu")
        counts.add(traced_flops_per_token(arch, 12, 0))
        assert disagreement(arch, 12, 0) == 0
    assert len(counts) == 1


def test_the_compiler_counts_the_same_where_nothing_is_scanned():
    """Of one layer; its count holds what is elementwise too, a few per cent."""
    arch = Arch.from_config(
        small_config(layers=1, width=128, ffn_size=512, attention="plain"), vocab=259, platform="cpu"
    )
    params = unbox(boxed_params(arch))
    batch = jax.tree.map(lambda x: jnp.zeros((8, 128), x.dtype), small_batch("decoder_only"))
    model = families.build(arch.family, arch=arch)
    grad = jax.grad(lambda params, batch: cross_entropy(model.apply({"params": params}, batch), batch).total)
    compiled = jax.jit(grad).lower(params, batch).compile()
    traced = 8 * 128 * traced_flops_per_token(arch, 128, 0)
    assert 1 < compiled.cost_analysis()["flops"] / traced < 1.06


def counted(function, *shapes) -> float:
    return count(jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)))


def repeated(x, w):
    return jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, length=7)[0]


def test_programs_are_counted_by_hand():
    one = 2 * 3 * 4 * 4
    assert counted(jnp.matmul, (3, 4), (4, 4)) == one
    assert counted(jax.vmap(jnp.matmul), (5, 3, 4), (5, 4, 4)) == 5 * one
    assert counted(repeated, (3, 4), (4, 4)) == 7 * one
    assert counted(jax.checkpoint(repeated), (3, 4), (4, 4)) == 7 * one
    assert counted(lambda x, w: jax.grad(lambda x, w: repeated(x, w).sum(), (0, 1))(x, w), (3, 4), (4, 4)) == 21 * one
    assert counted(lambda x, w: (x @ w, x)[1], (3, 4), (4, 4)) == 0  # nobody reads the product
    assert counted(jax.jit(lambda x, w: x + 1), (3, 4), (4, 4)) == 0


def test_of_branches_the_dearest_counts():
    def either(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)

    assert counted(either, (3, 4), (4, 4)) == 2 * 2 * 3 * 4 * 4


def test_a_ragged_product_counts_each_row_once():
    def product(x, w):
        return jax.lax.ragged_dot(x, w, jnp.array([2, 4]))

    once = 2 * 6 * 4 * 5
    assert counted(product, (6, 4), (2, 4, 5)) == once
    assert counted(jax.grad(lambda x, w: product(x, w).sum(), (0, 1)), (6, 4), (2, 4, 5)) == 2 * once


def test_convolutions_count():
    def convolution(x, w):
        return jax.lax.conv_general_dilated(x, w, (1,), "SAME", feature_group_count=2)

    assert counted(convolution, (1, 4, 10), (6, 2, 3)) == 2 * 10 * 6 * 2 * 3


def test_loops_of_unknown_length_are_refused():
    def loop(x, w):
        return jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ w, x)

    with pytest.raises(NotImplementedError, match="while"):
        counted(loop, (3, 4), (4, 4))
    assert counted(lambda x: jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x - 1, x), (3,)) == 0
