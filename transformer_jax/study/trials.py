"""A study's trials: every variant with every seed, as complete configs with a directory name each."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ml_collections import ConfigDict

from transformer_jax import config as configs
from transformer_jax.errors import UserError
from transformer_jax.study.grid import Point
from transformer_jax.study.study import Study

# Label -> dotted key -> value: what a budget or tuning sets for a variant, beside what its point sets.
Extra = Mapping[str, Mapping[str, object]]

_SLUG_LIMIT = 48  # characters


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
      label: the variant.
      seed: which of its paired runs.
      config: complete; not shared with another trial.
      fingerprint: of `config` (`config.fingerprint`).
      stem: what its directory's name begins with, where that is not the label.
    """

    label: str
    seed: int
    config: ConfigDict
    fingerprint: str
    stem: str = ""

    @property
    def directory(self) -> str:
        """Its directory's name: the label as far as a file name may hold it, the seed, the fingerprint."""
        return f"{self.stem or slug(self.label)}-s{self.seed}-{self.fingerprint}"


def trials(study: Study, extra: Extra | None = None) -> list[Trial]:
    """All trials, seed by seed, so that an interrupted study has whole pairs to compare.

    Args:
      extra: set after a point's own overrides. A key that follows another one in the base config, such as
        `model.ffn_size`, does not follow it any more.

    Raises:
      UserError: if a variant sets an unknown key or a value that does not fit, or two variants come to the
        same config.
    """
    start, extra = study.base.seed, extra or {}
    made = [
        trial(study, point, seed, extra.get(point.label, {}))
        for seed in range(start, start + study.seeds)
        for point in study.grid
    ]
    seen: dict[str, Trial] = {}
    for each in made:
        twin = seen.setdefault(each.fingerprint, each)
        if twin is not each:
            raise UserError(f"the variants {twin.label!r} and {each.label!r} come to the same config: drop one")
    return made


def trial(study: Study, point: Point, seed: int, extra: Mapping[str, object], stem: str = "") -> Trial:
    """A variant with one seed and what is set beside its point.

    Raises:
      UserError: if a key is unknown or a value does not fit.
    """
    config = copy.deepcopy(study.base)  # keeps references, so that ffn_size still follows a changed width
    try:
        for key, value in (*point.overrides, *extra.items()):
            configs.override(config, key, value)
    except UserError as error:
        raise UserError(f"variant {point.label!r}: {error}") from None
    config.seed = seed
    return Trial(point.label, seed, config, configs.fingerprint(config), stem)


def slug(label: str) -> str:
    """A label as far as a file name may hold it."""
    return re.sub(r"[^a-z0-9._]+", "-", label.lower()).strip("-.")[:_SLUG_LIMIT] or "variant"


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
