"""`Spikes`: what is done about a sudden rise of the loss or the gradient norm, held to a running average."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import struct

from transformer_jax.registry import Registry
from transformer_jax.shapes import Array

spikes = Registry("spikes", "transformer_jax.train.spikes")


@struct.dataclass
class Running:
    """The average of what was accepted, as scalars: arrays in a compiled step, Python's numbers outside.

    Attributes:
      mean: of the loss or the gradient norm, over about the last `over` accepted updates.
      count: accepted updates.
      skipped: updates that were left out as spikes.
    """

    mean: Array
    count: Array
    skipped: Array


def begin() -> Running:
    zero = jnp.zeros((), jnp.int32)
    return Running(jnp.zeros((), jnp.float32), zero, zero)


def is_spike(value, running: Running, above: float, over: int):
    """Whether `value` is more than `above` times the average, once `over` updates have made it."""
    return (running.count >= over) & (value > above * running.mean)


def taken_in(value, running: Running, over: int) -> Running:
    """The average with one more value: a plain mean of the first `over`, then one that forgets."""
    count = running.count + 1
    least = over + (count - over) * (count < over)  # of the two, for arrays and numbers
    return running.replace(mean=running.mean + (value - running.mean) / least, count=count)


@dataclass(frozen=True)
class Spikes:
    """The hooks; each does nothing by default.

    Attributes:
      in_step: whether the compiled step decides, from a `Running` in its state.
      goes_back: whether the training loop decides when it logs, and goes back to a checkpoint.
    """

    in_step = False
    goes_back = False

    def problems(self) -> list[str]:
        """Arguments that are out of range, a sentence each."""
        return []


KEEP = Spikes()


@dataclass(frozen=True)
class Judge(Spikes):
    """Those that tell a spike by a running average.

    Attributes:
      above: a spike is more than so many times the average.
      over: updates that the average is over; before so many, nothing is a spike.
      of: what is averaged: the norm of the gradient before clipping, or the loss per target.
      most: spikes before the run gives up.
    """

    above: float = 4.0
    over: int = 50
    of: Literal["gradient", "loss"] = "gradient"
    most: int = 20

    def problems(self) -> list[str]:
        found = []
        if not 1 < self.above < math.inf:
            found.append(f"above={self.above}: give a number above 1")
        if self.over < 1:
            found.append(f"over={self.over}: give a number of updates, at least 1")
        if self.most < 1:
            found.append(f"most={self.most}: give a number, at least 1")
        return found

    def measured(self, loss, tokens, grad_norm):
        """The number that is judged.

        Args:
          loss, tokens: sums over the batch.
        """
        return {"gradient": grad_norm, "loss": loss / (tokens + (tokens == 0))}[self.of]

    def judge(self, value, running: Running) -> Array:
        """Whether `value` is a spike."""
        return is_spike(value, running, self.above, self.over)

    def accept(self, value, running: Running) -> Running:
        """The average after an update that was applied."""
        return taken_in(value, running, self.over)
