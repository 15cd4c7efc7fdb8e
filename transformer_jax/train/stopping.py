"""SIGINT and SIGTERM: one checkpoint, at a step that all processes agree on; or at once, where nothing would be lost.

A thread hears of signals while the main thread is in the compiler or waits for devices. In several processes the
threads agree: each says how many places its process has passed at which it may stop, and all stop at the first one that
none has passed. So the main threads wait for nobody, and nothing is sent while nobody is asked to stop.
(`multihost_utils.reached_preemption_sync_point` does the same for SIGTERM alone, and takes its handler away from us.)
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator

from transformer_jax.parallel import distributed

PLACE = "stop/"  # where a process that was asked to stop says so to the others
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CODES = {signal.SIGINT: distributed.INTERRUPTED, signal.SIGTERM: distributed.TEMPORARY}
_GRACE = 30.0  # seconds to wait for the agreement of others that have not come so far
_HEARD, _CLOSE = 254, 255  # bytes that are no signals


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and there is a checkpoint to resume from, or nothing to save.

    Attributes:
      code: the exit code of a command that ends with it.
      agreed: all processes raise it, at the same step.
    """

    def __init__(self, message: str, code: int = distributed.INTERRUPTED):
        super().__init__(message)
        self.code, self.agreed = code, True


class Stop:
    """What the first SIGINT or SIGTERM asks for; a second SIGINT interrupts at once. Use as a context.

    Attributes:
      safe: what the process is doing while nothing would be lost by leaving; empty while there is something.
    """

    def __init__(self, safe: str = "", leaves: bool = False):
        """`leaves`: whether the process may be ended outright, being there for this run only."""
        self._safe, self._leaves = safe, leaves
        self._lock = threading.Lock()
        self._asked: int | None = None  # the signal
        self._passed, self._at = 0, None  # places so far, and the one to stop at
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Stop":
        self._several = distributed.several()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._thread = threading.Thread(target=self._listen, name="stop", daemon=True)
        self._thread.start()
        if self._main:
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
            self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None or getattr(error, "agreed", False):
            distributed.barrier("stop closes")  # until here others may ask our thread
        if self._main:
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._before.items():
                signal.signal(number, handler)
        os.write(self._write, bytes([_CLOSE]))
        self._thread.join(timeout=_GRACE)
        for end in (self._read, self._write):
            os.close(end)

    def reached(self) -> bool:
        """Whether to stop here. All processes ask at the same places, in the same order."""
        with self._lock:
            self._passed += 1
            if self._several:
                return self._at is not None and self._passed >= self._at
            return self._asked is not None

    @property
    def safe(self) -> str:
        return self._safe

    @safe.setter
    def safe(self, doing: str) -> None:
        with self._lock:
            self._safe = doing
        if doing and self._asked is not None and not self._several:
            self._interrupt()

    @contextlib.contextmanager
    def nothing_to_lose(self, doing: str) -> Iterator[None]:
        before, self.safe = self.safe, doing
        yield
        self.safe = before

    def heard(self) -> None:
        """Called from any thread: another process was asked to stop."""
        with contextlib.suppress(OSError):
            os.write(self._write, bytes([_HEARD]))

    def interrupted(self, message: str) -> Interrupted:
        """What to raise once all is saved."""
        return Interrupted(message, _CODES[self._asked])

    def _on_signal(self, number, frame) -> None:
        if self._asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = number
        if self._safe and not self._several:
            self._interrupt()

    def _interrupt(self) -> None:
        """In the main thread of a single process: ends what would lose nothing."""
        if self._leaves:
            self._leave()
        raise self.interrupted(_line(self._safe))

    def _leave(self) -> None:
        print(f"interrupted: {_line(self._safe)}", file=sys.stderr, flush=True)
        distributed.leave(_CODES[self._asked])

    def _listen(self) -> None:
        agreed = False
        while True:
            told = set(os.read(self._read, 64)) if select.select([self._read], [], [])[0] else set()
            if _CLOSE in told:
                return
            numbers = [number for number in _SIGNALS if number in told]
            if self._several and (numbers or _HEARD in told) and not agreed:
                agreed = True
                self._agree(max(numbers, default=None))
            elif not self._several and numbers and self._leaves:
                self._if_deaf()

    def _if_deaf(self) -> None:
        """The handler cannot run while the main thread is in the compiler: the process ends without it."""
        if select.select([self._read], [], [], 1.0)[0]:
            return
        with self._lock:
            if self._safe and self._asked is None:
                self._asked = signal.SIGTERM
                self._leave()

    def _agree(self, number: int | None) -> None:
        if number is not None:
            distributed.post(f"{PLACE}{distributed.number()}", str(int(number)))
        with self._lock:  # so that no main thread passes a place meanwhile
            try:
                each = distributed.gather([number, self._passed, self._safe], "stopping", _GRACE)
            except Exception:  # some have not begun, or have ended
                each = [[number or signal.SIGTERM, self._passed, self._safe or "others did not answer"]]
            asked = max(own or 0 for own, _, _ in each)
            self._asked = signal.Signals(asked)
            self._at = max(passed for _, passed, _ in each) + 1
            safe = next((doing for _, _, doing in each if doing), "")
            if safe:  # what others may have done since cannot be more than what their devices could do without it
                self._safe = safe
                if distributed.is_first():
                    self._leave()
                distributed.leave(_CODES[self._asked])


def _line(safe: str) -> str:
    return f"{safe}: nothing had to be saved; the same command goes on from the last checkpoint, if there is one"
