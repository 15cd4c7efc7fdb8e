"""Trains in this process, one unit after the other."""

from dataclasses import dataclass

from transformer_jax.errors import UserError
from transformer_jax.study.launch.base import Job, Launcher, launchers
from transformer_jax.study.study import Resources
from transformer_jax.study.work import work


@launchers.register("here")
@dataclass(frozen=True)
class Here(Launcher):
    """No other process."""

    def __post_init__(self):
        if self.processes not in (None, 1):
            raise UserError(f"processes={self.processes}: give --launcher=local or --launcher=slurm with it")

    @property
    def parts(self) -> int:
        return 1

    def machine(self, resources: Resources) -> dict | None:
        return None

    def launch(self, job: Job, workers: int) -> str:
        work(job.store, job.trainer, job.tell)
        return ""
