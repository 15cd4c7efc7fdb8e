"""Workers as jobs of a Slurm cluster, through submitit: one job array, each job queued again when its time is over."""

import contextlib
import math
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.study.launch.base import Job, Launcher, launchers, machine, worker_command
from transformer_jax.study.launch.local import INTERRUPTED
from transformer_jax.study.study import Resources

_MOST = 16  # workers, unless --processes says otherwise
_REQUEUES = 1000  # a job that makes no progress must end some time
_SAVING = 120  # seconds before the time limit at which a worker is asked to save
_KILLED = 180  # seconds within which Slurm kills what it has sent SIGTERM
_AGAIN = 10.0  # seconds after which a worker that was asked to stop is asked again


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


class Worker:
    """What a job runs: a worker of the study as a child process, so that it can be told to save and end."""

    def __init__(self, directory: Path, command: tuple[str, ...]):
        self.directory, self.command = directory, command
        self._child: subprocess.Popen | None = None
        self._code: int | None = None
        self._told: float | None = None  # when Slurm said that it would kill us

    def __call__(self) -> int:
        """Runs the child to its end; 1 if runs failed.

        Raises:
          RuntimeError: if the child neither came to its end nor was told to stop.
        """
        # submitit lets SIGTERM pass by, and Slurm may send it to the job's own processes only.
        signal.signal(signal.SIGTERM, self._on_term)
        # The signal that is for submitit goes to all processes of the job, and would kill the child.
        self._child = subprocess.Popen(["/bin/sh", "-c", "trap '' USR2; exec \"$@\"", "worker", *self.command])
        # Popen may not be waited for in a signal handler while it is waited for outside.
        threading.Thread(target=self._wait, daemon=True).start()
        while self._code is None:
            time.sleep(0.1)
        if self._told is not None:
            self._until_killed()
        if self._code not in (0, 1):
            raise RuntimeError(f"the worker ended with code {self._code}; its output is above")
        return self._code

    def checkpoint(self) -> object:
        """Called by submitit before the time limit and before a preemption: saves, and goes on in a new job."""
        import submitit

        asked = -math.inf
        while self._child is not None and self._code is None:
            if time.monotonic() - asked > _AGAIN:  # one that comes between two units may be lost
                self._stop()
                asked = time.monotonic()
            time.sleep(0.1)
        return submitit.helpers.DelayedSubmission(Worker(self.directory, self.command))

    def _wait(self) -> None:
        self._code = self._child.wait()

    def _stop(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGTERM)

    def _on_term(self, number, frame) -> None:
        self._told = time.monotonic()
        self._stop()

    def _until_killed(self) -> None:
        """Slurm queues a job again only if it has killed it: one that ends by itself is over."""
        while self._code in INTERRUPTED and time.monotonic() - self._told < _KILLED:
            time.sleep(0.1)


def _executor(folder: Path, cluster: str, resources: Resources, workers: int):
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher=slurm needs submitit: pip install 'transformer_jax[slurm]'") from None
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=_REQUEUES)
    executor.update_parameters(timeout_min=resources.minutes, name="study")
    if cluster == "slurm":
        executor.update_parameters(
            slurm_array_parallelism=workers,
            slurm_signal_delay_s=min(_SAVING, resources.minutes * 30),
            slurm_additional_parameters={"requeue": True, **dict(resources.extra)},
            slurm_srun_args=[f"--cpus-per-task={resources.cpus}"],  # srun does not take it from sbatch
            cpus_per_task=resources.cpus,
            stderr_to_stdout=True,
            **({"gpus_per_node": resources.gpus} if resources.gpus else {}),
            **({"slurm_partition": resources.partition} if resources.partition else {}),
            **({"mem_gb": resources.memory_gb} if resources.memory_gb else {}),
        )
    return executor
