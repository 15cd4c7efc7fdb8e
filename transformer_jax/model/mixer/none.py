"""Nothing in a mixer's place."""

import jax.numpy as jnp

from transformer_jax.model.mixer.base import Mixer, mixers
from transformer_jax.model.position import MIXER_HOOKS


@mixers.register("none")
class NoMixer(Mixer):
    """0: positions exchange nothing here."""

    # Where nothing is mixed there is nothing that a position scheme could miss.
    reads = frozenset(MIXER_HOOKS)
    mixes = False
    cost = "nothing"

    def __call__(self, x_BLD, memory_BMD, *, ctx, layer, carried):
        return jnp.zeros_like(x_BLD)
