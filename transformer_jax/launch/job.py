"""What a job of a Slurm cluster runs: a command that can be told to save, and goes on in the next job."""

import contextlib
import math
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

TEMPORARY = 75  # exit code of a command that was stopped by SIGTERM, and wants to be queued again
INTERRUPTED = (TEMPORARY, 130, -signal.SIGTERM, 128 + signal.SIGTERM)  # of one that was asked to stop
REQUEUES = 1000  # a job that makes no progress must end some time
SAVING = 120  # seconds before the time limit at which a command is asked to save
_KILLED = 180  # seconds within which Slurm kills what it has sent SIGTERM
_AGAIN = 10.0  # seconds after which a command that was asked to stop is asked again


class Worker:
    """What a job runs: a command as a child process, so that it can be told to save and end."""

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
        self._ended()
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
        return submitit.helpers.DelayedSubmission(type(self)(self.directory, self.command))

    def _wait(self) -> None:
        self._code = self._child.wait()

    def _stop(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGTERM)

    def _on_term(self, number, frame) -> None:
        self._told = time.monotonic()
        self._stop()

    def _ended(self) -> None:
        """Slurm queues a job again only if it has killed it: one that ends by itself is over."""
        while self._told is not None and self._code in INTERRUPTED and time.monotonic() - self._told < _KILLED:
            time.sleep(0.1)


class RunWorker(Worker):
    """One of the processes of a run: whichever of them is told to stop, all end, and the job is queued again."""

    def _ended(self) -> None:
        if self._told is None and self._code == TEMPORARY:
            self._told = time.monotonic()  # another process was told; here, submitit's own signal may come yet
            if os.environ.get("SLURM_PROCID") == "0":
                time.sleep(2.0)  # for what the others have to say
                subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
        super()._ended()
