"""From a config to a trained run."""

from transformer_jax.train.loop import train

__all__ = ["train"]
