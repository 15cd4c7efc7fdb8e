"""`Watchdog`: a process that hangs, or whose company has hung or died, ends in time, with the stacks of its threads.

Progress is what the devices have finished, not what was sent to them. In several processes each one shows a sign of
life every second; process 0 looks for those that do not, and tells all. jax's own heartbeats stand behind this: they
end processes too, without stacks.
"""

import contextlib
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax

from transformer_jax.parallel import distributed

_TICK = 1.0  # seconds between looks
_SLOW = 10  # how many times as long compiling, reading and writing checkpoints may take
_SLOW_LEAST = 600.0  # and the least that they may, in seconds
_HEARTBEAT = 300  # seconds at most, as a library may keep all threads of a living process waiting for a while
_ALIVE = "alive/"


def heartbeat(seconds: float) -> int:
    """After how many seconds jax shall hold a process for dead, given `run.watchdog`."""
    return max(2, min(_HEARTBEAT, int(seconds))) if seconds else _HEARTBEAT


def silence(seconds: float) -> float:
    """After how many seconds without a sign of life a process counts as dead: before jax ends the others."""
    return 0.6 * heartbeat(seconds)


class Watchdog:
    """Ends the process with code 70 if it makes no progress. Use as a context; all methods are cheap.

    Args:
      seconds: without progress; 0 never ends it, except for what happens to other processes.
      on_post: called where other processes have been asked to stop.
    """

    def __init__(self, seconds: float, on_post: Callable[[], None] | None = None, post: str = ""):
        self._seconds, self._on_post, self._post = float(seconds), on_post, post
        self._lock = threading.Lock()
        self._pending: list[jax.Array] = []  # small outputs of what the devices work on, in order
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._doing, self._allowed = "starting", self.slow_seconds
        self._since = self._heard = time.monotonic()

    def __enter__(self) -> "Watchdog":
        several = distributed.several()
        if several:  # jax aborts a process whose process 0 is gone, from a thread of its own
            faulthandler.enable(file=sys.__stderr__)
        loops = [self._look] if self._seconds or several else []
        loops += [self._keep_company] if several else []
        self.made("starting", self.slow_seconds)
        self._heard = time.monotonic()
        for loop in loops:
            self._threads.append(threading.Thread(target=loop, name="watchdog", daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=2 * _TICK)
        faulthandler.cancel_dump_traceback_later()

    def made(self, doing: str, allowed: float | None = None) -> None:
        """There is progress; from here on the process is `doing` something, in `allowed` seconds at most."""
        with self._lock:
            self._since, self._doing = time.monotonic(), doing
            self._allowed = self._seconds if allowed is None else allowed

    def expect(self, array: jax.Array) -> None:
        """There will be progress when `array` is there."""
        with self._lock:
            if self._threads:
                self._pending.append(array)

    @contextlib.contextmanager
    def slow(self, doing: str) -> Iterator[None]:
        """What may take longer than an update: compiling, reading and writing checkpoints."""
        with self._for(doing, self.slow_seconds):
            yield

    @contextlib.contextmanager
    def paused(self, doing: str) -> Iterator[None]:
        """What nobody knows the time of."""
        with self._for(doing, 0.0):
            yield

    @contextlib.contextmanager
    def _for(self, doing: str, allowed: float) -> Iterator[None]:
        before = self._doing, self._allowed
        self.made(doing, allowed)
        yield
        self.made(*before)

    @property
    def slow_seconds(self) -> float:
        return max(_SLOW_LEAST, _SLOW * self._seconds) if self._seconds else 0.0

    def _left(self) -> float:
        """Seconds until the process is ended; infinite if it is not."""
        with self._lock:
            while self._pending and _is_there(self._pending[0]):
                del self._pending[0]
                self._since = time.monotonic()
            return self._since + self._allowed - time.monotonic() if self._allowed else math.inf

    def _look(self) -> None:
        while not self._closed.wait(min(_TICK, max(self._seconds / 4, 0.05)) if self._seconds else _TICK):
            left = self._left()
            if left <= 0:
                self._end(f"no progress for {self._allowed:g} s (run.watchdog={self._seconds:g}) while {self._doing}")
            quiet, most = time.monotonic() - self._heard, silence(self._seconds)
            if distributed.several() and quiet > most:
                self._end(f"nothing was heard of process 0 for {quiet:.0f} s: one of the two was stopped or cut off")
            if left == math.inf:
                faulthandler.cancel_dump_traceback_later()
            else:  # for when this thread can no longer run because another holds the interpreter
                faulthandler.dump_traceback_later(left + 5 * _TICK, exit=True, file=sys.__stderr__)

    def _keep_company(self) -> None:
        """Shows a sign of life, and looks for those of others."""
        beat, seen = 0, {}
        while not self._closed.wait(_TICK):
            try:
                distributed.post(f"{_ALIVE}{distributed.number()}", str(beat))
                why = distributed.who_left()
                if self._post and distributed.posted(self._post):
                    self._on_post()
                if distributed.is_first() and not why:
                    why = self._missing(seen)
            except Exception:  # process 0 has gone, and its service with it; `_look` ends us in time
                continue
            beat, self._heard = beat + 1, time.monotonic()
            if why and not self._closed.is_set():
                self._end(why)
        with contextlib.suppress(Exception):
            distributed.post(f"{_ALIVE}{distributed.number()}", "closed")

    def _missing(self, seen: dict[str, tuple[str, float]]) -> str:
        """Which processes have shown no sign of life for too long. `seen`: (sign, when it was new) of each."""
        now = time.monotonic()
        for process, sign in distributed.posted(_ALIVE).items():
            if sign != seen.get(process, ("", now))[0] or sign == "closed":
                seen[process] = (sign, now)
            seen.setdefault(process, (sign, now))
        most = silence(self._seconds)
        quiet = sorted((int(process), now - since) for process, (_, since) in seen.items() if now - since > most)
        return "; ".join(f"process {i} has shown no sign of life for {age:.0f} s" for i, age in quiet)

    def _end(self, why: str) -> NoReturn:
        # Straight to the descriptor: what hangs may hold the lock of the stream.
        os.write(2, f"error: process {distributed.number()} ends: {why}. Where its threads are:\n".encode())
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        distributed.leave(distributed.SOFTWARE, why)


def _is_there(array: jax.Array) -> bool:
    try:
        return array.is_ready()
    except Exception:  # deleted, or failed: whoever reads it is told
        return True
