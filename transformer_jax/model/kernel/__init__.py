"""How softmax attention is computed, one file per kernel."""

from transformer_jax.model.kernel.base import Kernel, kernels, resolve

__all__ = ["Kernel", "kernels", "resolve"]
