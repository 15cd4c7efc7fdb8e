"""What carries information between positions, one file per variant."""

from transformer_jax.model.mixer.base import Mixer, mixers

__all__ = ["Mixer", "mixers"]
