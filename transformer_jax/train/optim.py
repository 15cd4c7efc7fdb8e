"""The optimiser: AdamW with a decay mask, clipping and a schedule, all from optax."""

from dataclasses import dataclass

import jax
import optax

from transformer_jax.parallel.rules import is_boxed, is_matrix
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.schedule import Schedule, schedules


@dataclass(frozen=True)
class Optim:
    """The optimiser's static part, hashable. `schedule` has a peak of 1."""

    schedule: Schedule
    eps: float
    clip: float

    @classmethod
    def from_config(cls, config) -> "Optim":
        o = config.optim
        schedule = schedules.build(o.schedule, peak=1.0, warmup=o.warmup_steps, steps=config.train.steps)
        return cls(schedule, o.eps, o.clip)

    def transformation(self, boxed_params, hyper: Hyper) -> optax.GradientTransformation:
        """The optax chain. Its state does not depend on `hyper`, whose numbers may be traced.

        Args:
          boxed_params: they carry the logical names that tell matrices from vectors.
        """
        clip = optax.clip_by_global_norm(self.clip) if self.clip else optax.identity()
        adamw = optax.adamw(
            lambda step: hyper.learning_rate * self.schedule(step),
            b1=hyper.b1,
            b2=hyper.b2,
            eps=self.eps,
            weight_decay=hyper.weight_decay,
            mask=decay_mask(boxed_params),
        )
        return optax.chain(clip, adamw)


def decay_mask(boxed_params):
    """True for matrices, tables included; False for norms, gates and biases."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: is_matrix(path[-1].key, leaf.names), boxed_params, is_leaf=is_boxed
    )
