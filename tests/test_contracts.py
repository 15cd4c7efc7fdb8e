"""One contract for every registered variant, in both families. A new variant file is picked up by itself."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import FAMILIES, VOCAB, L, columns, fresh, join, max_abs, moved, small_arch, small_batch, with_execution

from transformer_jax.batch import Batch
from transformer_jax.model.transformer import families
from transformer_jax.objective import cross_entropy
from transformer_jax.validate import MODEL_SPECS

# Float32 logits of magnitude 10 that went through 2 layers: a reordered sum differs by some 1e-6.
TOLERANCE = 2e-5

# Beside each variant with its default arguments: arguments that take another path through the code.
EXTRA = {
    "residual": ["none(at='attention')", "none(at='ffn')"],
    "position": ["rope(interleaved=True, fraction=0.5)", "rope(theta=500.0)"],
    "mixer": ["mha(kv_heads=1)", "mha(kv_heads=2)"],
    "cross_mixer": ["mha(kv_heads=1)"],
}


def cases():
    """Each variant in each family; what comes to the same model (the defaults of all axes) is tested once."""
    seen = set()
    for axis, (registry, _) in MODEL_SPECS.items():
        if axis == "family":
            continue
        for spec in [*registry.names(), *EXTRA.get(axis, [])]:
            # Arguments beside the defaults touch a part that both families share.
            families_of = FAMILIES if spec in registry.names() else FAMILIES[:1]
            for family in FAMILIES[1:] if axis == "cross_mixer" else families_of:
                arch = small_arch(family=family, **{axis: spec})
                if arch not in seen:
                    seen.add(arch)
                    yield _param(family, axis, spec)
    for family in FAMILIES:
        yield _param(family, "bias", True)
    yield _param("decoder_only", "head_size", 6)


def _param(family, axis, value):
    name = f"{family}-{axis}-{value}"
    # One worker runs all contracts of a variant, so that its functions are compiled once.
    return pytest.param(family, axis, value, id=name, marks=pytest.mark.xdist_group(name))


class Case:
    """A variant's model with the functions that several contracts need, compiled once."""

    def __init__(self, family, axis, value):
        self.family = family
        self.arch = small_arch(family=family, tied_embeddings=False, **{axis: value})
        self.model = families.build(family, arch=self.arch)
        self.fresh = fresh(self.model)
        self.params = moved(self.fresh)
        self.batch = jax.tree.map(jnp.asarray, small_batch(family))
        self.forward = jax.jit(lambda params, batch: self.model.apply({"params": params}, batch))
        self.logits = self.forward(self.params, self.batch)
        # Of the loss by every parameter, and of one position's logits by the embedding table.
        self.gradients, self.seen_VD = self.gradients_of(self.model)

    def gradients_of(self, model):
        def outputs(params):
            logits_BLV = model.apply({"params": params}, self.batch)
            return cross_entropy(logits_BLV, self.batch).total, logits_BLV[0, L // 2].sum()

        @jax.jit
        def both(params):
            _, pull = jax.vjp(outputs, params)
            return pull((1.0, 0.0))[0], pull((0.0, 1.0))[0]["embedding"]["table"]

        return both(self.params)


_MADE = itertools.count()


@functools.lru_cache(maxsize=1)  # the contracts of one variant run after another
def make_case(family, axis, value):
    if next(_MADE) % 8 == 7:  # seldom enough to keep what eager calls compile, often enough to stay bounded
        jax.clear_caches()
    return Case(family, axis, value)


def pytest_generate_tests(metafunc):
    if {"family", "axis", "value"} <= set(metafunc.fixturenames):
        metafunc.parametrize("family, axis, value", list(cases()), scope="module")


@pytest.fixture(scope="module")
def variant(family, axis, value):
    return make_case(family, axis, value)


def test_shape_dtype_and_finite(variant):
    assert variant.logits.shape == (2, L, VOCAB)
    assert variant.logits.dtype == jnp.float32
    assert np.isfinite(variant.logits).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(variant.params)} == {jnp.dtype("float32")}


def test_bfloat16_computes_near_float32(variant):
    half = families.build(variant.family, arch=with_execution(variant.arch, dtype="bfloat16"))
    logits = jax.jit(lambda p, b: half.apply({"params": p}, b))(variant.params, variant.batch)
    assert logits.dtype == jnp.float32
    # 8 bits of mantissa over some ten roundings on the residual stream.
    scale = float(jnp.abs(variant.logits).max())
    assert 0 < max_abs(logits, variant.logits) < 0.1 * scale


def test_gradients_are_finite_and_reach_every_parameter(variant):
    for path, grad in jax.tree_util.tree_leaves_with_path(variant.gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(grad).all(), name
        layers = grad if "layers" in name else grad[None]
        assert (jnp.abs(layers).reshape(len(layers), -1).max(-1) > 0).all(), f"no gradient reaches {name}"


def test_causality_by_gradient(variant):
    """Tokens are distinct, so the embedding rows with a gradient are exactly the tokens that are seen."""
    seen = set(np.flatnonzero(jnp.abs(variant.seen_VD).max(-1)))
    expected = set(np.asarray(variant.batch.tokens_BL[0, : L // 2 + 1]))
    if variant.batch.source_BM is not None:
        expected |= set(np.asarray(variant.batch.source_BM[0]))
    assert seen == expected


def test_padding_is_never_read(variant):
    """Junk behind the end changes nothing, on either side."""

    def pad(batch, junk):
        other = small_batch(variant.family, seed=junk)
        blank = jax.tree.map(np.zeros_like, other).replace(tokens_BL=other.tokens_BL, source_BM=other.source_BM)
        rows = join([batch, blank])
        return rows.replace(
            segments_BL=np.where(np.arange(2 * L) < L, rows.segments_BL, 0),
        )

    first, second = (variant.forward(variant.params, pad(variant.batch, junk)) for junk in (7, 8))
    assert max_abs(first[:, :L], second[:, :L]) == 0
    assert max_abs(first[:, :L], variant.logits) < TOLERANCE


def test_packed_segments_do_not_see_each_other(variant):
    other = small_batch(variant.family, seed=3)
    packed = variant.forward(variant.params, join([variant.batch, other]))
    assert max_abs(packed[:, :L], variant.logits) < TOLERANCE
    assert max_abs(packed[:, L:], variant.forward(variant.params, other)) < TOLERANCE


def test_jit_equals_eager(variant):
    with jax.disable_jit():
        eager = variant.model.apply({"params": variant.params}, variant.batch)
    assert max_abs(eager, variant.logits) < TOLERANCE


def test_scan_unroll_remat_and_plain_attention_are_one_model(variant):
    arch = with_execution(variant.arch, stack="unroll", remat="dots", attention="plain")
    model = families.build(variant.family, arch=arch)
    jax.tree.map(np.testing.assert_array_equal, fresh(model), variant.fresh)
    logits = jax.jit(lambda p, b: model.apply({"params": p}, b))(variant.params, variant.batch)
    assert max_abs(logits, variant.logits) < TOLERANCE


def test_remat_gives_the_same_gradients(variant):
    again = families.build(variant.family, arch=with_execution(variant.arch, remat="full"))
    plain, (remat, _) = variant.gradients, variant.gradients_of(again)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(remat), strict=True):
        # Recomputed values are rounded in another order; gradients sum over 24 positions.
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3)


def test_cached_decoding_equals_full_forward(variant):
    """Rows of 5, 3 and 7 tokens, right-padded with junk, one prefill, then single steps."""
    lengths, slots = np.array([5, 3, 7]), 7 + 4
    batch = small_batch(variant.family, rows=3, length=L)
    full = variant.forward(variant.params, batch)
    apply = functools.partial(variant.model.apply, mutable=["cache"], cache_len=slots)
    prefill = columns(batch, 0, 7, with_source=True)
    valid = np.arange(7) < lengths[:, None]
    junk = np.where(valid, prefill.tokens_BL, 4)
    prefill = prefill.replace(tokens_BL=junk, segments_BL=valid.astype(np.int32))
    logits, cache = jax.jit(apply)({"params": variant.params}, prefill)
    for row, length in enumerate(lengths):
        assert max_abs(logits[row, :length], full[row, :length]) < TOLERANCE
    step = jax.jit(apply)
    for i in range(4):
        at = lengths[:, None] + i
        token = np.take_along_axis(batch.tokens_BL, at, axis=1)
        ones = np.ones_like(token)
        one = Batch(token, token, ones, at.astype(np.int32), ones, ones)
        logits, cache = step({"params": variant.params, **cache}, one)
        expected = np.take_along_axis(np.asarray(full), at[:, :, None], axis=1)
        assert max_abs(logits, expected) < TOLERANCE
    assert step._cache_size() == 2  # the cache's first layout from prefill, and its own
