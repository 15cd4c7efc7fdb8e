"""No positions."""

from transformer_jax.model.position.base import Position, positions


@positions.register("none")
class NoPosition(Position):
    """No term. A causal mask alone lets a decoder count (Haviv et al. 2022; Kazemnejad et al. 2023)."""

    cost = "nothing"

    relative = True
