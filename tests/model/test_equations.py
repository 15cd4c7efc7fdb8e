"""Arguments and combinations against the NumPy reference, packed and padded, in both families.

Every variant as it is by default meets the reference in the contract.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from models import FAMILIES, VOCAB, L, init, join, small_batch, small_config

from transformer_jax.model.arch import Arch
from transformer_jax.model.position.alibi import slopes
from transformer_jax.model.position.t5 import bucket
from transformer_jax.validate import problems

VARIANTS = [
    {"position": "rope(theta=500.0), kerple(kind='power')", "residual": "none(at='ffn')"},
    {"position": "shaw(clip=2)", "mixer": "mha(kv_heads=2, softcap=3.0)", "norm": "rmsnorm"},
    {
        "position": "xpos(scale_base=16.0)",
        "mixer": "mha(window=5, qk_norm='layernorm')",
        "residual": "parallel(norms=2)",
    },
    {"position": "t5", "mixer": "gated, talking(weights='sink')", "residual": "mix_ln(post=0.5)"},
    {"position": "rope, none", "mixer": "retention(expand=1, chunk=4), lstm", "ffn": "swiglu, moe(top=1, act='relu')"},
    {"position": "sinusoidal", "mixer": "mamba2(state=6, conv=2, chunk=5)", "residual": "highway(bias=0.5)"},
    {"position": "alibi", "mixer": "latent(rank=10, query_rank=7)", "residual": "layerscale(init=0.3)"},
    {"residual": "hyper_connections(streams=2, dynamic=False)", "mixer": "differential(init=0.4)"},
    {"bias": True, "head_size": 6, "heads": 3, "tied_embeddings": False},
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_logits_equal_the_numpy_reference(family, variant):
    config = small_config(family=family, **variant)
    config.data.length = config.data.source_length = 2 * L
    assert problems(config) == []
    model, params = init(Arch.from_config(config, vocab=VOCAB, platform="cpu"))
    batch = join([small_batch(family, rows=1), small_batch(family, rows=1, seed=2)])
    # The second segment ends early: its last three positions are padding.
    segments_BL = np.where(np.arange(2 * L) < 2 * L - 3, batch.segments_BL, 0)
    batch = jax.tree.map(jnp.asarray, batch.replace(segments_BL=segments_BL))
    ours = jax.jit(lambda p, b: model.apply({"params": p}, b))(params, batch)[0]
    config = config.model.copy_and_resolve_references().to_dict()
    theirs = reference.logits(config, params, batch, row=0, length=2 * L)
    valid = segments_BL[0] > 0
    # float32 against float64 on logits of magnitude 10.
    np.testing.assert_allclose(np.asarray(ours)[valid], theirs[valid], atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_t5_buckets_at_every_distance(causal):
    distances = np.arange(-400, 401)
    ours = bucket(jnp.asarray(distances)[None, None], buckets=32, max_distance=128, causal=causal)[0, 0]
    np.testing.assert_array_equal(ours, [reference.t5_bucket(int(d), causal) for d in distances])


def test_alibi_slopes_of_the_paper():
    assert slopes(8) == [2.0**-h for h in range(1, 9)]  # sec. 3: 1/2, 1/4, …, 1/256
    assert len(slopes(12)) == 12 and len(set(slopes(12))) == 12
