"""How attention logits become weights, one file per variant; chosen by the argument `weights` of every attention."""

from transformer_jax.model.weighting.base import Weighting, weightings

__all__ = ["Weighting", "weightings"]
