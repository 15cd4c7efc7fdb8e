"""`Launcher`: what gets the units of a planned study trained."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.registry import Registry
from transformer_jax.study.store import Store
from transformer_jax.study.study import Resources
from transformer_jax.study.work import Trainer

launchers = Registry("launcher", "transformer_jax.study.launch", base_fields=("processes",))


@dataclass(frozen=True)
class Job:
    """What a launcher works on.

    Attributes:
      store: the study, declared and planned.
      resources: what a worker should get.
      tell: gets lines of progress.
      trainer: another one than the default; only for launchers that train in this process.
    """

    store: Store
    resources: Resources
    tell: Callable[[str], None]
    trainer: Trainer | None = None


@dataclass(frozen=True)
class Launcher:
    """Base of the launchers.

    Attributes:
      processes: how many workers; None lets the launcher choose.
    """

    processes: int | None = None

    def __post_init__(self):
        if self.processes is not None and self.processes < 1:
            raise UserError(f"processes={self.processes}: give 1 or more")

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def parts(self) -> int:
        """How many units a study should have at least."""
        raise NotImplementedError

    def workers(self, units: int) -> int:
        """How many workers to start for so many units."""
        return min(self.parts, units)

    def machine(self, resources: Resources) -> dict | None:
        """`n_devices` and `platform` that a worker has, as `validate` takes them; None if they are this process's."""
        raise NotImplementedError

    def launch(self, job: Job, workers: int) -> str:
        """Gets the units trained; gives a line on what goes on after this call, empty if nothing does.

        Raises:
          UserError: if workers cannot be started, or refuse the study.
          KeyboardInterrupt: if it was interrupted; what was trained has been saved.
        """
        raise NotImplementedError


def worker_command(directory: Path) -> list[str]:
    """Starts a worker of the study in `directory`, on any machine that shares its files."""
    return [sys.executable, "-m", "transformer_jax", "study", "work", str(directory)]


def machine(gpus: int) -> dict:
    """`n_devices` and `platform` of a worker with so many GPUs.

    From here on, this process keeps off the accelerators, which its workers need.
    """
    import jax

    jax.config.update("jax_platforms", "cpu")
    return {"n_devices": gpus, "platform": "gpu"} if gpus else {"n_devices": jax.device_count(), "platform": "cpu"}
