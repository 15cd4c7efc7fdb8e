"""Workers on this machine: processes that share out its GPUs, or its processor cores if it has none."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.launch.job import INTERRUPTED
from transformer_jax.study.launch.base import Job, Launcher, launchers, machine, worker_command
from transformer_jax.study.study import Resources

_CORES = 4  # per worker, unless --processes says otherwise
_AGAIN = 10.0  # seconds after which a worker that was asked to stop is asked again


@launchers.register("local")
@dataclass(frozen=True)
class Local(Launcher):
    """Processes of this machine."""

    @property
    def parts(self) -> int:
        return self.processes or len(gpus()) or max(2, len(cores()) // _CORES)

    def machine(self, resources: Resources) -> dict | None:
        have = gpus()
        return machine(max(1, len(have) // self.parts) if have else 0)

    def launch(self, job: Job, workers: int) -> str:
        """Starts the workers, shows what they say, and waits for them."""
        folder = job.store.directory / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        command = worker_command(job.store.directory)
        with _asked_to_stop() as asked:
            started = [
                Worker(number, folder / f"{stem}-{number}", command, share)
                for number, share in enumerate(shares(workers), start=1)
            ]
            job.tell(f"{workers} workers; what they print is in {folder}")
            _wait(started, asked, job.tell)
        _judge(started, bool(asked), job.tell)
        return ""


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may list; none if JAX is told not to use them."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not re.search("cuda|gpu", platforms):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each.strip() for each in visible.split(",") if each.strip() and each.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(i) for i in range(len(re.findall(r"^GPU \d+:", listed.stdout, re.MULTILINE)))]


def cores() -> list[int]:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Share:
    """What one worker gets: environment variables, and cores (all if empty)."""

    environment: tuple[tuple[str, str], ...] = ()
    cores: tuple[int, ...] = ()


def shares(workers: int) -> list[Share]:
    """The machine, in as many parts; with fewer GPUs than workers, some of them share one."""
    have = gpus()
    if not have:
        # They share the host's memory, too (`train.population.WORKERS`).
        crowd = (("TRANSFORMER_JAX_WORKERS", str(workers)),)
        return [Share(crowd, tuple(each)) for each in _parts(cores(), workers)]
    crowd = -(-workers // len(have))  # workers on one GPU
    # Each JAX process takes three quarters of a GPU's memory unless it is told otherwise.
    room = (("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / crowd:.2f}"),) if crowd > 1 else ()
    return [Share((("CUDA_VISIBLE_DEVICES", ",".join(each)), *room)) for each in _parts(have, workers)]


def _parts(things: Sequence, n: int) -> list[Sequence]:
    """`things` in n runs of neighbours; if there are fewer than n, they go round."""
    if len(things) < n:
        return [[things[i % len(things)]] for i in range(n)]
    return [things[i * len(things) // n : (i + 1) * len(things) // n] for i in range(n)]


class Worker:
    """A started process; what it says goes to LOG.out, and all else to LOG.err."""

    def __init__(self, number: int, log: Path, command: list[str], share: Share):
        self.number, self.err = number, log.with_name(log.name + ".err")
        out = log.with_name(log.name + ".out")
        with out.open("w") as stdout, self.err.open("w") as stderr:
            # A session of its own, so that Ctrl-C reaches it once, through its parent.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | dict(share.environment) | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        if share.cores and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self.process.pid, share.cores)
        self._out = out.open()
        self._rest = ""

    def said(self) -> list[str]:
        """The whole lines it has printed since the last call."""
        *lines, self._rest = (self._rest + self._out.read()).split("\n")
        return lines

    def close(self) -> None:
        self._out.close()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """The signals to pass on: SIGTERM for the first SIGINT or SIGTERM, SIGINT for each further SIGINT."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_signal(number, frame):
        asked.append(number if asked else signal.SIGTERM)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: list[Worker], asked: list[int], tell) -> None:
    passed, last = 0, time.monotonic()
    running = True
    while running:
        running = any(worker.process.poll() is None for worker in workers)  # asked before their last lines are read
        for worker in workers:
            for line in worker.said():
                tell(f"worker {worker.number}: {line}")
        again = passed and time.monotonic() - last > _AGAIN  # one that came between two units may have been lost
        if asked[passed:] or again:
            number = asked[-1] if asked[passed:] else signal.SIGTERM
            if not passed:
                tell("stopping: the workers save what they train")
            passed, last = len(asked), time.monotonic()
            for worker in workers:
                worker.signal(number)
        time.sleep(0.1 * running)
    for worker in workers:
        worker.close()


def _judge(workers: list[Worker], stopped: bool, tell) -> None:
    """Says how the workers ended.

    Raises:
      KeyboardInterrupt: if they were stopped.
      UserError: if one refuses the study, with its reason.
    """
    for worker in workers:
        code, lines = worker.process.returncode, worker.err.read_text().strip().splitlines()
        if code == 2:
            _, _, reason = "\n".join(["", *lines]).rpartition("\nerror: ")
            raise UserError(reason or f"worker {worker.number} refuses the study: {worker.err}")
        if code not in (0, 1) and not (stopped and code in INTERRUPTED):
            tell(f"worker {worker.number} ended with code {code}: {worker.err}")
    if stopped or any(worker.process.returncode in INTERRUPTED for worker in workers):
        raise KeyboardInterrupt("the workers were stopped; the same command goes on from what they saved")
