"""How fast a run trains: time in windows, with compilation, evaluation and saving left out."""

import statistics
import time
from contextlib import contextmanager


class Clock:
    """Add tokens to `tokens`; `lap()` ends a window. The state goes into checkpoints, so that a resumed run adds up.

    Attributes:
      tokens: of the present window.
      waited: seconds of it in which the devices may have had nothing to do because batches were not ready.
      waiting: their share of the last window, at most.
      total: seconds of training in all windows so far.
    """

    def __init__(self):
        self.tokens, self.total = 0, 0.0
        self.waited = self.waiting = 0.0
        self._since = time.monotonic()
        self._speeds: list[float] = []

    def restart(self) -> None:
        """Begins a window; what was in the present one is not counted."""
        self.tokens, self.waited, self._since = 0, 0.0, time.monotonic()

    def lap(self) -> float | None:
        """Ends a window and begins the next: its tokens per second, None if it has no tokens."""
        seconds, tokens = time.monotonic() - self._since, self.tokens
        self.waiting = self.waited / seconds
        self.restart()
        if not tokens:
            return None
        self.total += seconds
        self._speeds.append(tokens / seconds)
        return self._speeds[-1]

    def median(self) -> float | None:
        """Tokens per second over the windows; None if there was none."""
        return statistics.median(self._speeds) if self._speeds else None

    @contextmanager
    def paused(self):
        before = time.monotonic()
        yield
        self._since += time.monotonic() - before

    def state(self) -> dict:
        return {"total": self.total, "speeds": self._speeds}

    def resume(self, state: dict) -> None:
        self.total, self._speeds = state["total"], list(state["speeds"])
        self.restart()
