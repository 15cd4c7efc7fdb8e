"""What may differ between runs of one compiled program: numbers that the program takes as data."""

import hashlib
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax.model.arch import Arch
from transformer_jax.model.heads import parse_mask
from transformer_jax.shapes import Array

# Config keys that a program takes as data. Of those that are True here only whether they are set is static: a
# program without dropout draws no random numbers.
DYNAMIC = {
    "seed": False,
    "init_salt": False,
    "model.init_scale": False,
    "model.dropout": True,
    "model.head_mask": True,
    "objective.label_smoothing": True,
    "objective.z_loss": True,
    "optim.learning_rate": False,
    "optim.weight_decay": False,
    "optim.b1": False,
    "optim.b2": False,
}


@struct.dataclass
class Hyper:
    """The hyperparameters of a run as scalars; of a population with a leading axis R. None where one is off.

    Attributes:
      key: random key that initial values and the randomness of training follow from.
      init_scale: factor of the initial values of the matrices inside of the stacks.
      dropout, label_smoothing: rates.
      z_loss: coefficient.
      heads: a mask (`model.heads`).
    """

    key: Array
    learning_rate: Array
    weight_decay: Array
    b1: Array
    b2: Array
    init_scale: Array
    dropout: Array | None = None
    label_smoothing: Array | None = None
    z_loss: Array | None = None
    heads: dict | None = None

    @classmethod
    def from_config(cls, config: ConfigDict, arch: Arch) -> "Hyper":
        """Those of one run.

        Raises:
          UserError: if `model.head_mask` names heads that `arch` does not have.
        """
        m, o, p = config.model, config.objective, config.optim
        return cls(
            key=run_key(config),
            learning_rate=jnp.float32(p.learning_rate),
            weight_decay=jnp.float32(p.weight_decay),
            b1=jnp.float32(p.b1),
            b2=jnp.float32(p.b2),
            init_scale=jnp.float32(m.init_scale),
            dropout=_unless_off(m.dropout),
            label_smoothing=_unless_off(o.label_smoothing),
            z_loss=_unless_off(o.z_loss),
            heads=parse_mask(m.head_mask, arch),
        )


def run_key(config: ConfigDict) -> Array:
    """The random key of a run."""
    key = jax.random.key(config.seed)
    return jax.random.fold_in(key, config.init_salt) if config.init_salt else key


def static_key(config: ConfigDict) -> str:
    """Equal for configs that may train together as one program: those that differ in `DYNAMIC` keys only."""
    found = {"": json.loads(json.dumps(config_lib.to_dict(config)))}
    for key, only_whether in DYNAMIC.items():
        *sections, leaf = key.split(".")
        node = found[""]
        for section in sections:
            node = node[section]
        node[leaf] = bool(node[leaf]) if only_whether else None
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def distinct(configs: Sequence[ConfigDict]) -> list[ConfigDict]:
    """The first of those configs that differ in nothing but the seed, which decides nothing that can be refused."""
    found = {}
    for config in configs:
        found.setdefault(json.dumps(config_lib.to_dict(config) | {"seed": min(config.seed, 0)}), config)
    return list(found.values())


def _unless_off(value: float) -> Array | None:
    return jnp.float32(value) if value else None
