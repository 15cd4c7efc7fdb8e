"""Learning rates over updates; each starts with a linear warm-up from 0 to the peak."""

from dataclasses import dataclass

import jax.numpy as jnp

from transformer_jax.registry import Registry

schedules = Registry("schedule", "transformer_jax.train.schedule", base_fields=("peak", "warmup", "steps"))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`schedule(step) -> learning rate`; `after` says what follows the warm-up.

    Attributes:
      peak: the learning rate at the end of the warm-up.
      warmup, steps: updates; the first is part of the second.
    """

    peak: float
    warmup: int
    steps: int

    def __call__(self, step):
        step = jnp.asarray(step, jnp.float32)
        rising = (step + 1) / max(self.warmup, 1)
        return self.peak * jnp.where(step < self.warmup, rising, self.after(step))

    def after(self, step):
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Arguments that are out of range, a sentence each."""
        given = {name: getattr(self, name) for name in ("floor", "decay") if hasattr(self, name)}
        return [f"{name}={value}: give 0 to 1" for name, value in given.items() if not 0 <= value <= 1]

    def progress(self, step):
        """From 0 at the end of the warm-up to 1 when all updates are made."""
        return jnp.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)


@schedules.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The peak."""

    def after(self, step):
        return jnp.ones_like(step)


@schedules.register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine down to `floor` times the peak (Loshchilov & Hutter 2017, eq. 5)."""

    floor: float = 0.0

    def after(self, step):
        return self.floor + (1 - self.floor) * 0.5 * (1 + jnp.cos(jnp.pi * self.progress(step)))


@schedules.register("rsqrt")
@dataclass(frozen=True, kw_only=True)
class InverseSquareRoot(Schedule):
    """sqrt(warmup / step) (Vaswani et al. 2017, eq. 3)."""

    def after(self, step):
        warmup = max(self.warmup, 1)
        return jnp.sqrt(warmup / jnp.maximum(step + 1, warmup))


@schedules.register("wsd")
@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """The peak, then over the last `decay` of all updates a line down to `floor` times it (Hu et al. 2024)."""

    decay: float = 0.2
    floor: float = 0.0

    def after(self, step):
        into_decay = (step - (1 - self.decay) * self.steps) / max(self.decay * self.steps, 1)
        return 1 - (1 - self.floor) * jnp.clip(into_decay, 0.0, 1.0)
