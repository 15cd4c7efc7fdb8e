"""Skip connection and placement of the norm, one file per variant."""

from transformer_jax.model.residual.base import Residual, residuals

__all__ = ["Residual", "residuals"]
