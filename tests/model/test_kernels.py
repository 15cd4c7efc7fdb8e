"""Kernels of attention against the one that goes step by step: values, gradients, whatever is masked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import config as config_lib
from transformer_jax.model.arch import UNROLLED, resolve_stack
from transformer_jax.model.kernel import kernels, resolve

# Two orders of summation in float32 over values of order 1; their gradients sum over more.
TOLERANCE, OF_GRADIENTS = 2e-6, 2e-5


def inputs(groups, *, rows, keys, is_causal, bias_rows, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    array = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)  # noqa: E731
    q_BLHK, k_BMGK, v_BMGK = array(2, rows, 4, 8), array(2, keys, groups, 8), array(2, keys, groups, 8)
    mask_B1LM = rng.random((2, 1, rows, keys)) < 0.7
    if is_causal:
        mask_B1LM &= np.tri(rows, dtype=bool)
    mask_B1LM |= np.eye(rows, keys, dtype=bool)
    bias_BHLM = array(bias_rows, 4, rows, keys) if bias_rows else None
    return (q_BLHK, k_BMGK, v_BMGK, bias_BHLM), jnp.asarray(mask_B1LM)


def with_gradients(kernel, arrays, mask_B1LM, **options):
    def total(arrays):
        q_BLHK, k_BMGK, v_BMGK, bias_BHLM = arrays
        found = kernels.build(kernel)(q_BLHK, k_BMGK, v_BMGK, mask_B1LM=mask_B1LM, bias_BHLM=bias_BHLM, **options)
        return jnp.sum(jnp.sin(found.astype(jnp.float32))), found

    gradients, found = jax.grad(total, has_aux=True)(arrays)
    return found, jax.tree.leaves(gradients)


@pytest.mark.parametrize("kernel", ["xla", "blocks", "blocks(count=3, least=1)"])
@pytest.mark.parametrize("groups, bias_rows", [(1, 0), (2, 1), (4, 2)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_kernels_agree(kernel, groups, bias_rows, is_causal):
    arrays, mask_B1LM = inputs(groups, rows=7, keys=7 if is_causal else 5, is_causal=is_causal, bias_rows=bias_rows)
    options = {"scale": 0.3, "ordered": is_causal}
    plain, plain_gradients = with_gradients("plain", arrays, mask_B1LM, **options)
    found, gradients = with_gradients(kernel, arrays, mask_B1LM, **options)
    np.testing.assert_allclose(found, plain, atol=TOLERANCE)
    for mine, theirs in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=OF_GRADIENTS)


@pytest.mark.parametrize("kernel", ["plain", "xla", "blocks"])
def test_bfloat16_comes_out_as_it_went_in(kernel):
    arrays, mask_B1LM = inputs(2, rows=6, keys=6, is_causal=True, bias_rows=0)
    exact, _ = with_gradients("plain", arrays, mask_B1LM)
    found, gradients = with_gradients(kernel, jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays), mask_B1LM)
    assert found.dtype == jnp.bfloat16 and all(each.dtype == jnp.bfloat16 for each in gradients)
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.05)  # 8 bits, over values of order 1


@pytest.mark.parametrize("kernel", ["plain", "xla", "blocks"])
def test_a_query_that_sees_nothing_is_finite(kernel):
    arrays, mask_B1LM = inputs(4, rows=6, keys=6, is_causal=True, bias_rows=0)
    found, gradients = with_gradients(kernel, arrays, mask_B1LM & (jnp.arange(6) != 3)[:, None], ordered=True)
    assert all(bool(jnp.isfinite(x).all()) for x in (found, *gradients))


def test_blocks_compute_half_of_all_pairs():
    arrays, mask_B1LM = inputs(4, rows=64, keys=64, is_causal=True, bias_rows=0)
    call = lambda *arrays: kernels.build("blocks(count=4, least=1)")(*arrays, mask_B1LM=mask_B1LM, ordered=True)  # noqa: E731
    text = str(jax.make_jaxpr(call)(*arrays[:3]))
    assert all(f"[2,4,1,16,{keys}]" in text for keys in (16, 32, 48, 64)) and "64,64]" not in text.replace(
        "bool[2,1,64,64]", ""
    )


@pytest.mark.parametrize(
    "changes, kernel",
    [
        ({}, "cudnn"),
        ({"model.dtype": "float32"}, "xla"),
        ({"model.head_size": 12}, "xla"),
        ({"data.length": 127}, "xla"),
    ],
    ids=str,
)
def test_the_fused_kernel_is_chosen_only_where_it_can_run(changes, kernel):
    config = config_lib.base()
    config.model.dtype = "bfloat16"
    for key, value in changes.items():
        config_lib.override(config, key, value)
    assert resolve(config, "gpu") == kernel
    assert resolve(config, "cpu") == "blocks" and resolve(config, "tpu") == "xla"


def test_blocks_do_not_lie_across_devices():
    config = config_lib.base()
    config.mesh.context = 2
    assert resolve(config, "cpu") == "xla"


@pytest.mark.parametrize(
    "changes, platform, stack",
    [
        ({}, "cpu", "unroll"),
        ({}, "tpu", "scan"),
        ({"model.layers": UNROLLED + 1}, "cpu", "scan"),
        ({"model.family": "encoder_decoder", "model.encoder_layers": UNROLLED + 1}, "cpu", "scan"),
        ({"model.encoder_layers": UNROLLED + 1}, "cpu", "unroll"),
        ({"model.remat": "full"}, "cpu", "scan"),
        ({"model.layers": 99, "model.stack": "unroll"}, "gpu", "unroll"),
    ],
    ids=str,
)
def test_few_layers_are_unrolled_on_a_cpu(changes, platform, stack):
    config = config_lib.base()
    for key, value in changes.items():
        config_lib.override(config, key, value)
    assert resolve_stack(config, platform) == stack
