"""metrics.jsonl, the truth that reports read; TensorBoard beside it; and the line of progress."""

import json
import math
import os
import socket
import sys
import time
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

_FLUSH_SECONDS = 30.0  # between the times that TensorBoard gets to see something


class Metrics:
    """Appends rows to `metrics.jsonl` and scalars to TensorBoard events in a run directory.

    Everything is written by the thread that calls: the queues of tensorboardX's own writer wait forever for a thread
    that a full disk has ended.
    """

    def __init__(self, workdir: Path, tensorboard: bool):
        self._path = workdir / "metrics.jsonl"
        self._file = self._events = None
        self._flushed = -math.inf
        try:
            self._file = self._path.open("ab", buffering=0)
            if _torn(self._path):  # a killed process left half a line, which must not take the next one with it
                self._append(b"\n")
            if tensorboard:
                (workdir / "tensorboard").mkdir(exist_ok=True)
                name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
                self._events = RecordWriter(str(workdir / "tensorboard" / name))
                self._record(Event(wall_time=time.time(), file_version="brain.Event:2"))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(workdir)) from None

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """A value of None, which is one that does not apply, is written as null and drawn nowhere.

        Raises:
          OSError: if it cannot be written; what was written before stays as it is.
        """
        try:
            self._append(json.dumps({"step": step, **values}).encode() + b"\n")
            if self._events is not None:
                for name, value in values.items():
                    if value is not None:
                        self._record(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
                if time.monotonic() > self._flushed + _FLUSH_SECONDS:
                    self._flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def sync(self) -> None:
        """Returns when the rows would survive a power cut: before the checkpoint does that goes on after them."""
        os.fsync(self._file.fileno())
        if self._events is not None:
            self._flush()

    def close(self) -> None:
        """Closes the files; what could not be written has been told by then."""
        for file in (self._file, self._events):
            if file is not None:
                try:
                    file.close()
                except OSError as error:
                    print(f"warning: {self._path.parent}: {error.strerror}", file=sys.stderr, flush=True)

    def _record(self, event: Event) -> None:
        self._events.write(event.SerializeToString())

    def _flush(self) -> None:
        self._events.flush()
        self._flushed = time.monotonic()

    def _append(self, line: bytes) -> None:
        """The whole line, or nothing of it."""
        end = os.fstat(self._file.fileno()).st_size
        done = 0
        try:
            while done < len(line):
                done += self._file.write(line[done:])
        except OSError:
            if done:
                os.truncate(self._path, end)
            raise


def _torn(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"


class Silent:
    """Takes what is written and keeps nothing: of several processes, one writes."""

    def write(self, step: int, values: dict[str, float | None]) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class Progress:
    """A line per call: steps, loss, speed and time left."""

    def __init__(self, total: int, file=None):
        self._total = total
        self._file = sys.stderr if file is None else file
        self._start = self._first = None

    def tick(self, step: int, values: dict[str, float], note: str = "") -> None:
        """`values` by name, printed in order. The first call only starts the clock's extrapolation."""
        now = time.monotonic()
        if self._start is None:
            self._start, self._first = now, step
        left = ""
        if step > self._first:
            seconds = (now - self._start) / (step - self._first) * (self._total - step)
            left = f"  {_clock(seconds)} left"
        shown = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        print(f"step {step}/{self._total}  {shown}{left}{note}", file=self._file, flush=True)


def _short(value: float) -> str:
    return f"{value / 1e3:.1f}k" if 1e4 <= abs(value) < math.inf else f"{value:.4g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
