"""The slurm launcher: what a job does by itself, and, where there is a Slurm, a study that it runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from study.fake_worker import command, noted
from study.study_fakes import FakeTrainer, accept, study
from study.test_launch import ALL, report_of, until

from transformer_jax.errors import UserError
from transformer_jax.study import Resources, Store, run, run_study
from transformer_jax.study.launch import slurm
from transformer_jax.study.status import status

submitit = pytest.importorskip("submitit")
needs_slurm = pytest.mark.skipif(shutil.which("sbatch") is None, reason="no Slurm on this machine")


@pytest.fixture(autouse=True)
def workers(monkeypatch):
    """Workers that only take their time; call it to choose how much."""

    def choose(*arguments):
        monkeypatch.setattr(slurm, "worker_command", lambda directory: command(directory, *arguments))

    monkeypatch.setattr(run._Start, "_group", lambda self: lambda config: str(config.model.heads))
    choose()
    return choose


def launch(directory, launcher="slurm", **more):
    given = {"launcher": launcher, "processes": 2, "members": 1, "tell": str, "command": "study run X.py"}
    minutes = more.pop("minutes", 5)
    made = study(resources=Resources(minutes=minutes, cpus=1))
    return run_study(made, directory, validator=accept, **(given | more))


def test_without_submitit_or_slurm_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match=r"could not be submitted: Could not detect .srun."):
        launch(tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"needs submitit: pip install 'transformer_jax\[slurm\]'"):
        launch(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit leaves its processes alone
def test_jobs_are_submitted_and_run_the_study(tmp_path, workers):
    workers(0.1)
    summary = launch(tmp_path, "slurm(cluster='local')")
    assert not summary.complete and "submitted job" in summary.note and summary.note in str(summary)
    until(lambda: status(tmp_path).count("done") == 9)
    assert sorted(noted(tmp_path / "calls.log", "begin")) == ALL
    assert launch(tmp_path, "slurm(cluster='local')").complete


class Child:
    """A worker job in a process of its own, as submitit runs it; `code` follows in the child's program."""

    def __init__(self, tmp_path, code, job=""):
        self.out = tmp_path / "out"
        program = (
            "import signal, sys, time\n"
            "from transformer_jax.launch import job\n"
            f"{job}\n"
            f"worker = job.Worker('.', (sys.executable, '-c', {code!r}))\n"
            "signal.signal(signal.SIGUSR2, lambda *_: (print(type(worker.checkpoint()).__name__), sys.exit(7)))\n"
            "print(worker())\n"
        )
        with self.out.open("w") as file:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"}
            self.process = subprocess.Popen([sys.executable, "-c", program], stdout=file, stderr=file, env=environment)

    @property
    def said(self):
        return self.out.read_text().split("\n")


SAVES = """
import signal, sys, time
def save(*_):
    time.sleep(0.5); print('saved'); sys.exit(130)
signal.signal(signal.SIGTERM, save)
print('ready')
time.sleep(60)
"""


def test_before_the_time_limit_the_worker_saves_and_the_job_is_queued_again(tmp_path):
    job = Child(tmp_path, SAVES)
    until(lambda: "ready" in job.said)
    job.process.send_signal(signal.SIGUSR2)
    assert job.process.wait(30) == 7
    assert job.said[:3] == ["ready", "saved", "DelayedSubmission"]


def test_a_signal_that_is_lost_is_sent_again(tmp_path):
    once = "heard = []\ndef save(*_):\n    heard.append(1)\n    if len(heard) < 2: return"
    deaf = SAVES.replace("def save(*_):", once).replace("time.sleep(60)", "[time.sleep(1) for _ in range(60)]")
    job = Child(tmp_path, deaf, "job._AGAIN = 0.5")
    until(lambda: "ready" in job.said)
    job.process.send_signal(signal.SIGUSR2)
    assert job.process.wait(30) == 7 and "saved" in job.said


def test_a_job_that_slurm_is_about_to_kill_waits_for_it(tmp_path):
    job = Child(tmp_path, SAVES, "job._KILLED = 3")
    until(lambda: "ready" in job.said)
    job.process.send_signal(signal.SIGTERM)
    until(lambda: "saved" in job.said)
    time.sleep(1)
    assert job.process.poll() is None  # what ends by itself is not queued again
    assert job.process.wait(30) == 1 and "the worker ended with code 130" in "".join(job.said)


@pytest.mark.parametrize(("code", "expected"), [(0, ["0"]), (1, ["1"]), (3, None)])
def test_the_worker_decides_how_the_job_ends(tmp_path, code, expected):
    job = Child(tmp_path, f"import sys; sys.exit({code})")
    assert job.process.wait(30) == (0 if expected else 1)
    assert job.said[:1] == expected or "the worker ended with code 3" in "".join(job.said)


def slurm_state(job: str) -> dict[str, str]:
    """What Slurm says of a job, or of each job of an array."""
    told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False).stdout
    found = {}
    for each in filter(str.strip, told.split("\n\n")):
        task = re.search(r"ArrayTaskId=(\d+)", each)
        found[f"{job}_{task[1]}" if task else job] = re.search(r"JobState=(\w+)", each)[1]
    return found


def requeued(job: str) -> None:
    """Waits until Slurm has queued the job again, and does not wait the two minutes that it would."""
    until(lambda: slurm_state(job.split("_")[0])[job] == "PENDING", 120)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


@needs_slurm
@pytest.mark.slurm
def test_a_study_on_slurm_with_a_job_killed_and_requeued(tmp_path, workers):
    workers(3.0)
    summary = launch(tmp_path)
    (job,) = re.findall(r"submitted job (\d+): 2 workers", summary.note)
    assert f"with --launcher=slurm: submitted job {job}" in str(status(tmp_path))
    log = tmp_path / "calls.log"
    until(lambda: len(noted(log, "end")) >= 2, 120)
    running = [name for name, state in slurm_state(job).items() if state == "RUNNING"]
    subprocess.run(["scontrol", "requeue", running[0]], check=True)
    requeued(running[0])
    until(lambda: status(tmp_path).count("done") == 9, 300)
    assert sorted(noted(log, "end")) == ALL
    assert len(noted(log, "begin")) <= 10
    until(lambda: set(slurm_state(job).values()) <= {"COMPLETED"}, 200)
    undisturbed = tmp_path / "undisturbed"
    run_study(study(), undisturbed, trainer=FakeTrainer(), validator=accept, tell=str)
    assert report_of(tmp_path) == report_of(undisturbed)


@needs_slurm
@pytest.mark.slurm
def test_a_job_that_slurm_warns_of_its_time_limit_goes_on_in_a_new_one(tmp_path, workers):
    workers(4.0)
    (job,) = re.findall(r"submitted job (\d+)", launch(tmp_path, processes=1).note)
    log = tmp_path / "calls.log"
    until(lambda: len(noted(log, "end")) == 1, 120)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)  # as Slurm does
    requeued(job)
    until(lambda: status(tmp_path).count("done") == 9, 300)
    assert sorted(noted(log, "end")) == ALL and len(noted(log, "begin")) == 10
    assert Store(tmp_path).launches()[0]["launcher"] == "slurm"
