"""Shapes are checked in all tests, and compiled programs do not pile up."""

import os
from importlib.metadata import version

os.environ["TRANSFORMER_JAX_CHECK_SHAPES"] = "1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests compile far more than they compute: 1.7 times as fast this way.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):  # 1.5 times again; later versions end with an error at a flag that is gone
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("TRANSFORMER_JAX_COMPILATION_CACHE", "off")  # JAX_COMPILATION_CACHE_DIR still counts

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def bounded_compilation_cache():
    """Each compiled program holds memory maps, of which a process may have some 65,000."""
    yield
    jax.clear_caches()
