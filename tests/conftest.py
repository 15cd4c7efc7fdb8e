"""Shapes are checked in all tests, and compiled programs do not pile up."""

import os

os.environ["TRANSFORMER_JAX_CHECK_SHAPES"] = "1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def bounded_compilation_cache():
    """Each compiled program holds memory maps, of which a process may have some 65,000."""
    yield
    jax.clear_caches()
