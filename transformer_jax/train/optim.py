"""The optimiser: AdamW with a decay mask, clipping and a schedule, all from optax."""

from dataclasses import dataclass

import jax
import optax

from transformer_jax.parallel.rules import is_boxed, is_matrix
from transformer_jax.train.schedule import Schedule, schedules


@dataclass(frozen=True)
class Optim:
    """The optimiser's static part, hashable."""

    schedule: Schedule
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    clip: float

    @classmethod
    def from_config(cls, config) -> "Optim":
        o = config.optim
        schedule = schedules.build(o.schedule, peak=o.learning_rate, warmup=o.warmup_steps, steps=config.train.steps)
        return cls(schedule, o.weight_decay, (o.b1, o.b2), o.eps, o.clip)

    def transformation(self, boxed_params) -> optax.GradientTransformation:
        """The optax chain. `boxed_params` carry the logical names that tell matrices from vectors."""
        clip = optax.clip_by_global_norm(self.clip) if self.clip else optax.identity()
        adamw = optax.adamw(
            self.schedule,
            b1=self.betas[0],
            b2=self.betas[1],
            eps=self.eps,
            weight_decay=self.weight_decay,
            mask=decay_mask(boxed_params),
        )
        return optax.chain(clip, adamw)


def decay_mask(boxed_params):
    """True for matrices, tables included; False for norms, gates and biases."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: is_matrix(path[-1].key, leaf.names), boxed_params, is_leaf=is_boxed
    )
