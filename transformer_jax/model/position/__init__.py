"""What tells positions apart, one file per variant."""

from transformer_jax.model.position.base import MIXER_HOOKS, Position, positions

__all__ = ["MIXER_HOOKS", "Position", "positions"]
