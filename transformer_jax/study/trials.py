"""A study's trials: every variant with every seed, as complete configs with a directory name each."""

import copy
import re
from dataclasses import dataclass

from ml_collections import ConfigDict

from transformer_jax import config as configs
from transformer_jax.errors import UserError
from transformer_jax.study.grid import Point
from transformer_jax.study.study import Study

_SLUG_LIMIT = 48  # characters


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
      label: the variant.
      seed: which of its paired runs.
      config: complete; not shared with another trial.
      fingerprint: of `config` (`config.fingerprint`).
    """

    label: str
    seed: int
    config: ConfigDict
    fingerprint: str

    @property
    def directory(self) -> str:
        """Its directory's name: the label as far as a file name may hold it, the seed, the fingerprint."""
        slug = re.sub(r"[^a-z0-9._]+", "-", self.label.lower()).strip("-.")[:_SLUG_LIMIT]
        return f"{slug or 'variant'}-s{self.seed}-{self.fingerprint}"


def trials(study: Study) -> list[Trial]:
    """All trials, seed by seed, so that an interrupted study has whole pairs to compare.

    Raises:
      UserError: if a variant sets an unknown key or a value that does not fit, or two variants come to the
        same config.
    """
    start = study.base.seed
    made = [_trial(study, point, seed) for seed in range(start, start + study.seeds) for point in study.grid]
    seen: dict[str, Trial] = {}
    for trial in made:
        twin = seen.setdefault(trial.fingerprint, trial)
        if twin is not trial:
            raise UserError(f"the variants {twin.label!r} and {trial.label!r} come to the same config: drop one")
    return made


def flat(config: ConfigDict | dict) -> dict[str, object]:
    """`config` as dotted key -> resolved value."""
    out: dict[str, object] = {}

    def walk(tree: dict, prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                out[f"{prefix}{key}"] = value

    walk(configs.to_dict(config), "")
    return out


def _trial(study: Study, point: Point, seed: int) -> Trial:
    config = copy.deepcopy(study.base)  # keeps references, so that ffn_size still follows a changed width
    try:
        for key, value in point.overrides:
            configs.override(config, key, value)
    except UserError as error:
        raise UserError(f"variant {point.label!r}: {error}") from None
    config.seed = seed
    return Trial(point.label, seed, config, configs.fingerprint(config))
