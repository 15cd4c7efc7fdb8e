"""Workers as jobs of a Slurm cluster, through submitit: one job array, each job queued again when its time is over."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.launch.job import REQUEUES, SAVING, Worker
from transformer_jax.study.launch.base import Job, Launcher, launchers, machine, worker_command
from transformer_jax.study.study import Resources

_MOST = 16  # workers, unless --processes says otherwise


@launchers.register("slurm")
@dataclass(frozen=True)
class Slurm(Launcher):
    """A job array.

    Attributes:
      cluster: of submitit: 'slurm', or 'local' to try it without one.
    """

    cluster: str = "slurm"

    @property
    def parts(self) -> int:
        return self.processes or 1

    def workers(self, units: int) -> int:
        return min(self.processes or _MOST, units)

    def machine(self, resources: Resources) -> dict | None:
        return machine(resources.gpus)

    def launch(self, job: Job, workers: int) -> str:
        directory = job.store.directory.absolute()
        try:
            executor = _executor(directory / "slurm", self.cluster, job.resources, workers)
            with executor.batch():
                jobs = [executor.submit(Worker(directory, tuple(worker_command(directory)))) for _ in range(workers)]
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            raise UserError(f"--launcher=slurm: the jobs could not be submitted: {error}") from None
        names = jobs[0].job_id.split("_")[0] if self.cluster == "slurm" else ", ".join(each.job_id for each in jobs)
        return f"submitted job {names}: {workers} workers; their output is in {directory / 'slurm'}"


def _executor(folder: Path, cluster: str, resources: Resources, workers: int):
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher=slurm needs submitit: pip install 'transformer_jax[slurm]'") from None
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=REQUEUES)
    executor.update_parameters(timeout_min=resources.minutes, name="study")
    if cluster == "slurm":
        executor.update_parameters(
            slurm_array_parallelism=workers,
            slurm_signal_delay_s=min(SAVING, resources.minutes * 30),
            slurm_additional_parameters={"requeue": True, **dict(resources.extra)},
            slurm_srun_args=[f"--cpus-per-task={resources.cpus}"],  # srun does not take it from sbatch
            cpus_per_task=resources.cpus,
            stderr_to_stdout=True,
            **({"gpus_per_node": resources.gpus} if resources.gpus else {}),
            **({"slurm_partition": resources.partition} if resources.partition else {}),
            **({"mem_gb": resources.memory_gb} if resources.memory_gb else {}),
        )
    return executor
