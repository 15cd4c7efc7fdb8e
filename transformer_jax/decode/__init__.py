"""Text from a trained model, with a key-value cache."""

from transformer_jax.decode.generator import Generator, LoadedRun, load_run
from transformer_jax.decode.sampling import Sampling

__all__ = ["Generator", "LoadedRun", "Sampling", "load_run"]
