"""What is trained together: a study's trials in units, each one job for one process, recorded once for all.

units.json          the plan: the base config, and each unit's runs in the order of their slots
units/NAME.json     a unit's rounds, put down before it is trained, and the seconds it has taken
units/NAME.lock     held by the process that trains it

A run's slot and company decide its numbers to the last bit. So a recorded run never changes its unit: what is
added to a study later gets units of its own.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from transformer_jax import config as configs
from transformer_jax.errors import UserError
from transformer_jax.files import plain_name, write_json
from transformer_jax.study.trials import Trial, flat

_FORMAT = 1


@dataclass(frozen=True)
class Slot:
    """A run's place in a unit.

    Attributes:
      label, seed: which trial.
      directory: the name of its run directory.
      changed: dotted key -> value, where its config differs from the plan's base.
    """

    label: str
    seed: int
    directory: str
    changed: dict


@dataclass(frozen=True)
class Unit:
    """Runs that one process trains together, in the order of their slots."""

    name: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Plan:
    """All units of a study, in the order in which they are trained."""

    base: dict
    units: tuple[Unit, ...] = ()

    def config(self, slot: Slot) -> ConfigDict:
        """The complete config of a run. It needs no experiment file."""
        config = configs.from_dict(self.base)
        for key, value in slot.changed.items():
            configs.override(config, key, value)
        return config

    def steps(self, slot: Slot) -> int:
        return slot.changed.get("train.steps", self.base["train"]["steps"])

    @property
    def slots(self) -> list[Slot]:
        return [slot for unit in self.units for slot in unit.slots]


def read_plan(directory: Path) -> Plan | None:
    """The plan of the study in `directory`; None if nothing has been planned.

    Raises:
      UserError: if it cannot be read.
    """
    path = directory / "units.json"
    try:
        found = json.loads(path.read_text())
        if found["format"] != _FORMAT:
            raise UserError(f"{path} has format {found['format']!r}; this version reads {_FORMAT}")
        units = [Unit(each["name"], tuple(Slot(**slot) for slot in each["slots"])) for each in found["units"]]
        for name in [each.name for each in units] + [slot.directory for each in units for slot in each.slots]:
            plain_name(name, path)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error!r}") from None
    return Plan(found["base"], tuple(units))


def write_plan(directory: Path, plan: Plan) -> None:
    units = [{"name": unit.name, "slots": [vars(slot) for slot in unit.slots]} for unit in plan.units]
    write_json(directory / "units.json", {"format": _FORMAT, "base": plan.base, "units": units})


def plan_units(
    plan: Plan,
    trials: Sequence[tuple[Trial, str]],
    group: Callable[[ConfigDict], str],
    *,
    parts: int = 1,
    members: int | None = None,
) -> Plan:
    """`plan` with units for those trials that have none.

    Args:
      trials: each with the name of its directory, in the order in which they should be run.
      group: trials for which it is equal can be trained together.
      parts: how many units there should be at least, so that as many processes have something to do.
      members: how many runs a unit has at most; None is no limit.
    """
    base, have = flat(plan.base), {slot.directory for slot in plan.slots}
    groups: dict[str, list[tuple[int, Slot]]] = {}
    for index, (trial, directory) in enumerate(trials):
        if directory not in have:
            # A key that has come since the plan was made is in no base.
            changed = {k: v for k, v in flat(trial.config).items() if k not in base or v != base[k]}
            slot = Slot(trial.label, trial.seed, directory, changed)
            groups.setdefault(group(trial.config), []).append((index, slot))
    chunks = sorted(_split(list(groups.values()), parts, members), key=lambda chunk: chunk[0][0])
    number = len(plan.units)
    new = [Unit(f"unit-{number + i:03}", tuple(slot for _, slot in chunk)) for i, chunk in enumerate(chunks, start=1)]
    return Plan(plan.base, (*plan.units, *new))


def _split(groups: list[list], parts: int, members: int | None) -> list[list]:
    """Cuts groups into runs of neighbours: at most `members` in each, and at least `parts` in all if it can be."""
    counts = [math.ceil(len(group) / members) if members else 1 for group in groups]
    for _ in range(parts - sum(counts)):
        largest = max(range(len(groups)), key=lambda i: len(groups[i]) / counts[i], default=None)
        if largest is None or counts[largest] == len(groups[largest]):
            break
        counts[largest] += 1
    chunks = []
    for group, count in zip(groups, counts, strict=True):
        bounds = [i * len(group) // count for i in range(count + 1)]
        chunks += [group[a:b] for a, b in itertools.pairwise(bounds)]
    return chunks


@dataclass
class Progress:
    """What is recorded of a unit under its lock.

    Attributes:
      rounds: indices of slots that train as one program, one round after the other; None if not decided yet.
      seconds: of wall-clock time that its processes have spent on it.
    """

    rounds: list[list[int]] | None = None
    seconds: float = 0.0


def read_progress(directory: Path, unit: Unit) -> Progress:
    """A torn file is none: the rounds are decided anew."""
    try:
        return Progress(**json.loads(_progress(directory, unit).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return Progress()


def write_progress(directory: Path, unit: Unit, progress: Progress) -> None:
    write_json(_progress(directory, unit), vars(progress))


def lock_of(directory: Path, unit: Unit) -> Path:
    return directory / "units" / f"{unit.name}.lock"


def _progress(directory: Path, unit: Unit) -> Path:
    return directory / "units" / f"{unit.name}.json"
