"""Normalisation of the model width, one file per variant."""

from transformer_jax.model.norm.base import Norm, norms

__all__ = ["Norm", "norms"]
