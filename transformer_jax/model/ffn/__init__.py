"""The feed-forward sublayer, one file per variant."""

from transformer_jax.model.ffn.base import FFN, ffns

__all__ = ["FFN", "ffns"]
