"""One of two processes is killed, or stopped: the other ends within the set time, and the run goes on."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.base import (
    ROOT,
    Bench,
    Row,
    command,
    committed,
    devices,
    differences,
    environment,
    fault,
    reached,
    resumed_from,
    tiny,
    undisturbed,
)

_SECONDS = 10  # run.watchdog
_SLACK = 6.0  # what a busy machine may take longer


@fault("processes")
def processes(bench: Bench) -> Iterator[Row]:
    config = tiny(train__steps=60, train__eval_every=60, run__watchdog=float(_SECONDS))
    with devices(2):
        path, expected, _ = undisturbed(bench, "processes", config)
    cases = [(number, rank) for number in (signal.SIGKILL, signal.SIGSTOP) for rank in (1, 0)]
    for number, rank in cases[: bench.times(4, 1)]:
        yield _once(bench, config, path, expected, number, rank)


def _once(bench: Bench, config, path: Path, expected: dict, number: signal.Signals, rank: int) -> Row:
    place = bench.fresh("processes")
    workdir = place / "run"
    both = _started(bench, path, workdir, place)
    deadline = time.monotonic() + 300
    while (committed(workdir) or 0) < 20 and time.monotonic() < deadline and both[0].poll() is None:
        time.sleep(0.02)
    both[rank].send_signal(number)
    began = time.monotonic()
    code = _ended(both[1 - rank], 60.0)
    seconds = time.monotonic() - began
    if number == signal.SIGSTOP:
        both[rank].send_signal(signal.SIGCONT)
    other = _ended(both[rank], 30.0)
    log = (place / f"{1 - rank}.log").read_text()
    stacks = "most recent call first" in log or "Traceback" in log
    step = committed(workdir)
    again = [_ended(each, 300.0) for each in _started(bench, path, workdir, place)]
    told = (place / "0.log").read_text()
    equal = again == [0, 0] and not differences(expected, reached(config, workdir))
    good = code not in (0, None) and other not in (0, None) and seconds < _SECONDS + _SLACK and stacks and equal
    good = good and resumed_from(told) == step
    then = f"it had code {other} when it could go on; " if number == signal.SIGSTOP else ""
    outcome = f"the other ended with code {code} after {seconds:.0f} s, {'with its' if stacks else 'WITHOUT'} stacks; "
    outcome += f"{then}started again, both went on from step {step} to the end of one undisturbed process"
    outcome += "" if equal else f": NOT EQUAL {again}"
    return Row(f"{number.name} to process {rank} of 2, run.watchdog={_SECONDS}", 1, outcome, good)


def _started(bench: Bench, path: Path, workdir: Path, place: Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
    started = []
    for process in range(2):
        flags = (coordinator, "--processes=2", f"--process={process}")
        with (place / f"{process}.log").open("w") as file, devices(1):
            arguments = command(path, workdir, *flags)
            started.append(
                subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, env=environment(bench), cwd=ROOT)
            )
    return started


def _ended(process: subprocess.Popen, seconds: float) -> int | None:
    """The exit code; None if it had to be killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
