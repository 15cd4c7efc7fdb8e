"""What tells positions apart, one file per variant."""

from transformer_jax.model.position.base import Position, positions

__all__ = ["Position", "positions"]
