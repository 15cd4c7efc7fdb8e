"""Nothing is done."""

from dataclasses import dataclass

from transformer_jax.train.spikes.base import Spikes, spikes


@spikes.register("keep")
@dataclass(frozen=True)
class Keep(Spikes):
    """Every finite update is applied."""
