"""The process of one contestant: `python -m benchmarks.worker`, which `contest` starts and talks to."""

import json
import os
import resource
import sys
import time
from pathlib import Path

from transformer_jax.errors import UserError


def main() -> None:
    """Answers until the pipe ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a peer prints is no reply
    worker = Worker()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            reply = getattr(worker, message.pop("do"))(**message)
        except UserError as error:
            reply = {"error": str(error)}
        except ModuleNotFoundError as error:
            reply = {"error": f"needs the package {error.name!r}, which is not installed for this Python"}
        replies.write(json.dumps(reply) + "\n")


class Worker:
    """The replies to `contest`'s messages."""

    def build(self, peer: str, task: dict) -> dict:
        """Makes the contestant and warms it up."""
        from benchmarks.peers import peers
        from benchmarks.task import Task

        task = Task(**task)
        self._peer = peers.build(peer, task=task)
        self._peer.check()
        self._entry = self._peer.entry()
        first, second = self.run(), self.run()
        compiling = self._entry.compiling or {"compile": max(0.0, first["seconds"] - second["seconds"])}
        return {"compiling": compiling, "first": first, "data": task.checksum()}

    def run(self) -> dict:
        """One repeat."""
        busy, own, start = _busy_seconds(), time.process_time(), time.perf_counter()
        result = self._entry.run()
        seconds, own = time.perf_counter() - start, time.process_time() - own
        # Cores that others kept busy meanwhile: more than a few hundredths, and the figure is not to be believed.
        others = None if busy is None else max(0.0, _busy_seconds() - busy - own) / seconds
        return {"seconds": seconds, "others": others, **self._entry.outcome(result)}

    def report(self) -> dict:
        """What is known of it in the end."""
        return {
            "parameters": self._entry.parameters,
            "differences": self._peer.differences(),
            "versions": self._peer.versions(),
            "machine": self._peer.machine(),
            "peak_bytes": peak_bytes(),
            "device_peak_bytes": self._entry.device_peak(),
        }


def _busy_seconds() -> float | None:
    """Of all cores and processes since the machine started; None where that is not told."""
    try:
        counts = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(counts) - counts[3] - counts[4]) / os.sysconf("SC_CLK_TCK")  # all but idle and waiting for disks


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    try:  # getrusage counts what the process that started this one had, too
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
