"""The next token from logits, as pure functions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from transformer_jax.errors import UserError
from transformer_jax.shapes import Array, Float, Int, checked


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The default is greedy.

    Attributes:
      temperature: 0 takes the most likely token; above 0 divides the logits.
      top_k: only the k most likely tokens; 0 is all (Fan et al. 2018).
      top_p: only the fewest most likely tokens that hold this much probability (Holtzman et al. 2020).

    Raises:
      UserError: for values out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if self.temperature < 0:
            raise UserError(f"temperature={self.temperature}: give 0 (greedy) or more")
        if self.top_k < 0:
            raise UserError(f"top_k={self.top_k}: give 0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p}: give more than 0, at most 1 (off)")


@checked
def filter_logits(logits_BV: Float[Array, "B V"], sampling: Sampling) -> Float[Array, "B V"]:
    """Logits / temperature, -inf where `top_k` or `top_p` exclude a token. The most likely one always stays."""
    logits_BV = logits_BV / sampling.temperature
    vocab = logits_BV.shape[-1]
    if 0 < sampling.top_k < vocab:
        least_B1 = jax.lax.top_k(logits_BV, sampling.top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    if sampling.top_p < 1:
        sorted_BV = -jnp.sort(-logits_BV)
        probability_BV = jax.nn.softmax(sorted_BV)
        before_BV = jnp.cumsum(probability_BV, -1) - probability_BV
        kept_BV = before_BV < sampling.top_p
        least_B1 = jnp.min(jnp.where(kept_BV, sorted_BV, jnp.inf), -1, keepdims=True)
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    return logits_BV


@checked
def next_token(logits_BV: Float[Array, "B V"], key, sampling: Sampling) -> Int[Array, " B"]:
    """int32 token of each row."""
    if sampling.temperature == 0:
        return jnp.argmax(logits_BV, -1).astype(jnp.int32)
    return jax.random.categorical(key, filter_logits(logits_BV, sampling)).astype(jnp.int32)
