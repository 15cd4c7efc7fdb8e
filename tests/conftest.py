"""Shapes are checked in all tests, and compiled programs do not pile up."""

import os

os.environ["TRANSFORMER_JAX_CHECK_SHAPES"] = "1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests compile far more than they compute: 1.7 times as fast this way.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def bounded_compilation_cache():
    """Each compiled program holds memory maps, of which a process may have some 65,000."""
    yield
    jax.clear_caches()
