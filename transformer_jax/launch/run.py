"""`train --launcher=slurm`: one run on several nodes, as one job that is queued again until the run has ended."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax.errors import UserError
from transformer_jax.files import check_links, write_json
from transformer_jax.launch.job import REQUEUES, SAVING, RunWorker

_CONFIG = '''"""The config that `train --launcher=slurm` has submitted: {name}."""

import json
from pathlib import Path

from transformer_jax import config


def get_config(mode):
    return config.from_dict(json.loads(Path(__file__).with_suffix(".json").read_text()))
'''


@dataclass(frozen=True)
class Machine:
    """What the job asks for; one process per task."""

    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    minutes: int = 60
    partition: str = ""

    def __post_init__(self):
        least = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "minutes": 1}
        for name, at_least in least.items():
            if getattr(self, name) < at_least:
                raise UserError(f"--{name}={getattr(self, name)}: give at least {at_least}")
        if self.gpus_per_node % self.tasks_per_node:
            raise UserError(
                f"--gpus_per_node={self.gpus_per_node} cannot be shared by --tasks_per_node={self.tasks_per_node}: "
                "give one task, or one per GPU"
            )


def submit(machine: Machine, config: ConfigDict, workdir: Path, more: tuple[str, ...] = ()) -> str:
    """Submits the run of `config` and gives a line about it. The job reads a copy of the config.

    Args:
      more: flags of `train` besides.

    Raises:
      UserError: if it cannot be submitted.
    """
    workdir = workdir.absolute()
    check_links(workdir)
    folder = workdir / "slurm"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "submitted.json", config_lib.to_dict(config))
        (folder / "submitted.py").write_text(_CONFIG.format(name=config_lib.fingerprint(config)))
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}") from None
    command = (sys.executable, "-m", "transformer_jax", "train", f"--config={folder / 'submitted.py'}", *more)
    try:
        job = _executor(folder, machine).submit(RunWorker(workdir, (*command, f"--workdir={workdir}")))
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise UserError(f"--launcher=slurm: the job could not be submitted: {error}") from None
    processes = machine.nodes * machine.tasks_per_node
    return f"submitted job {job.job_id}: {processes} processes on {machine.nodes} nodes; their output is in {folder}"


def _executor(folder: Path, machine: Machine):
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher=slurm needs submitit: pip install 'transformer_jax[slurm]'") from None
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=REQUEUES)
    executor.update_parameters(
        name="train",
        nodes=machine.nodes,
        tasks_per_node=machine.tasks_per_node,
        cpus_per_task=machine.cpus_per_task,
        timeout_min=machine.minutes,
        stderr_to_stdout=True,
        slurm_signal_delay_s=min(SAVING, machine.minutes * 30),
        slurm_additional_parameters={"requeue": True},
        # srun does not take the first from sbatch; with the second, a process that fails ends the job.
        slurm_srun_args=[f"--cpus-per-task={machine.cpus_per_task}", "--kill-on-bad-exit=1"],
        **({"gpus_per_node": machine.gpus_per_node} if machine.gpus_per_node else {}),
        **({"slurm_partition": machine.partition} if machine.partition else {}),
    )
    return executor
