"""What is done about a sudden rise of the loss or the gradient, one file each."""

from transformer_jax.train.spikes.base import Running, Spikes, spikes

__all__ = ["Running", "Spikes", "spikes"]
