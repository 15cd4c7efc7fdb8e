"""Text from a trained model, with a key-value cache."""

from transformer_jax.decode.generator import Generator
from transformer_jax.decode.sampling import Sampling

__all__ = ["Generator", "Sampling"]
