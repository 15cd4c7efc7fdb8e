"""metrics.jsonl, the truth that reports read; TensorBoard beside it; and the line of progress."""

import json
import math
import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter


class Metrics:
    """Appends rows to `metrics.jsonl` and scalars to TensorBoard events in a run directory."""

    def __init__(self, workdir: Path, tensorboard: bool):
        path = workdir / "metrics.jsonl"
        torn = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a")
        if torn:  # a killed process left half a line, which must not take the next one with it
            self._file.write("\n")
        self._writer = SummaryWriter(str(workdir / "tensorboard")) if tensorboard else None

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """A value of None, which is one that does not apply, is written as null and drawn nowhere."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._writer is not None:
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._writer is not None:
            self._writer.close()


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
