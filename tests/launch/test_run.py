"""`train --launcher=slurm`: what is submitted, how its processes end, and, where there is a Slurm, a run on it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from parallel.process_worker import tiny
from study.test_launch import until
from study.test_slurm import requeued, slurm_state

from transformer_jax import config as config_lib
from transformer_jax import config_file
from transformer_jax.__main__ import main
from transformer_jax.errors import UserError
from transformer_jax.launch import Machine, run, submit
from transformer_jax.train import loop

pytest.importorskip("submitit")
needs_slurm = pytest.mark.skipif(shutil.which("sbatch") is None, reason="no Slurm on this machine")


class Submitted:
    def __init__(self, folder, machine):
        self.machine, self.job_id = machine, "7"

    def submit(self, worker):
        self.worker = worker
        return self


def test_the_job_trains_a_copy_of_the_config(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(run, "_executor", lambda *args: made.append(Submitted(*args)) or made[0])
    config = tiny({"train.steps": 5})
    told = submit(Machine(nodes=2, tasks_per_node=4, gpus_per_node=4), config, tmp_path, ("--allow_changes",))
    assert "submitted job 7: 8 processes on 2 nodes" in told
    command = made[0].worker.command
    assert command[:4] == (sys.executable, "-m", "transformer_jax", "train") and "--allow_changes" in command
    (location,) = [flag.removeprefix("--config=") for flag in command if flag.startswith("--config=")]
    assert config_lib.to_dict(config_file.load(location)) == config_lib.to_dict(config)
    assert f"--workdir={tmp_path}" in command


def test_what_cannot_be_submitted_is_told(tmp_path, monkeypatch, capsys):
    config = "--config=configs/lm_web.py"
    assert main(["train", config, "--nodes=2"]) == 2
    assert "--nodes without --launcher=slurm" in capsys.readouterr().err
    assert main(["train", config, "--launcher=slurm", "--nodes=0", f"--workdir={tmp_path}"]) == 2
    assert "--nodes=0: give at least 1" in capsys.readouterr().err
    assert main(["train", config, "--launcher=slurm", "--processes=2"]) == 2
    assert "finds the processes by itself" in capsys.readouterr().err
    with pytest.raises(UserError, match="--gpus_per_node=4 cannot be shared by --tasks_per_node=3"):
        Machine(gpus_per_node=4, tasks_per_node=3)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match=r"the job could not be submitted: Could not detect .srun."):
        submit(Machine(), tiny({}), tmp_path)


@pytest.mark.parametrize(("rank", "asked"), [("0", True), ("1", False)])
def test_if_another_process_was_told_to_stop_the_first_queues_the_job_again(tmp_path, rank, asked):
    """All processes end with 75, of which Slurm may have told one only; they wait for the end that comes with it."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    code = (
        "import sys\nfrom transformer_jax.launch import job\njob._KILLED = 3\n"
        "print(job.RunWorker('.', (sys.executable, '-c', 'import sys; sys.exit(75)'))())"
    )
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_PROCID": rank, "SLURM_JOB_ID": "12"}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ended with code 75" in done.stderr and time.monotonic() - began > 3
    assert (tmp_path / "asked").is_file() == asked
    assert not asked or (tmp_path / "asked").read_text() == "requeue 12\n"


@needs_slurm
@pytest.mark.slurm
@pytest.mark.parametrize("signalled", ["warned by Slurm", "one process"])
def test_two_processes_on_slurm_are_stopped_queued_again_and_go_on(tmp_path, monkeypatch, signalled):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    keys = {"train.steps": 400, "train.eval_every": 200, "train.steps_per_dispatch": 1, "run.checkpoint_every": 1000}
    config = tiny(keys | {"mesh.data": 2})
    told = submit(Machine(tasks_per_node=2, minutes=10), config, tmp_path / "run")
    (job,) = re.findall(r"submitted job (\d+): 2 processes", told)
    metrics = tmp_path / "run/metrics.jsonl"
    until(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 10, 180)
    if signalled == "one process":
        workers = subprocess.run(["pgrep", "-f", f"train --config={tmp_path}/run"], capture_output=True, text=True)
        os.kill(max(map(int, workers.stdout.split())), signal.SIGTERM)
    else:
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
    requeued(job)
    until(lambda: (tmp_path / "run/result.json").is_file(), 300)
    until(lambda: set(slurm_state(job).values()) <= {"COMPLETED"}, 120)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["process_count"] == 2
    logs = "".join(path.read_text() for path in (tmp_path / "run/slurm").glob("*.out"))
    assert len(set(re.findall(r"stopped at step (\d+)", logs))) == 1 and "goes on from step" in logs
    monkeypatch.undo()
    whole = loop.train(tiny(keys | {"mesh.data": 1}), tmp_path / "whole")
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["counted"] == whole["counted"]
    assert result["metrics"]["valid/loss"] == pytest.approx(whole["metrics"]["valid/loss"], rel=1e-2)
