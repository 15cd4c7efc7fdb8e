"""`contest`: contestants in processes of their own, timed in turns.

Each process is started once and blocks on a pipe while another one runs, so that no two pools of threads ever share
the cores. Messages are lines of JSON: `{"do": "build", …}`, `{"do": "run"}`, `{"do": "report"}` to a process, one reply
to each. Whatever else a process prints goes to a file, whose end is shown if it dies.
"""

import contextlib
import json
import os
import queue
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from transformer_jax.errors import UserError

_SETTLE = 0.25  # seconds between two turns: threads of OpenMP spin for a while after their work
_LINES = 15  # of what a process that died has printed


@dataclass(frozen=True)
class Contestant:
    """One who competes.

    Attributes:
      name: as tables call it.
      command: starts its process.
      build: what the first message says, beside "do".
      environment: of the process, beside this one's.
      ours: whether the others are compared with it; without it there is no contest.
    """

    name: str
    command: tuple[str, ...]
    build: Mapping = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False


@dataclass
class Found:
    """What was seen of a contestant.

    Attributes:
      seconds: of each round; `others` are the cores that other processes kept busy meanwhile (None: not known).
      built, last, report: its replies to "build", to the last "run" and to "report".
      failed: why it is out, in words without paths; None if it is not.
      told: the last lines that it printed, if it is out.
    """

    name: str
    ours: bool
    seconds: list[float] = field(default_factory=list)
    others: list[float | None] = field(default_factory=list)
    built: dict = field(default_factory=dict)
    last: dict = field(default_factory=dict)
    report: dict = field(default_factory=dict)
    failed: str | None = None
    told: str = ""


class _Out(Exception):
    """A contestant cannot go on."""


def contest(
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    limit: float = 900.0,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Found]:
    """Builds all, then lets each run once per round, the order changing from round to round.

    Args:
      limit: seconds that a reply may take; who needs more is out.

    Returns:
      one `Found` for each contestant, in their order. One that dies is out and the others go on.

    Raises:
      UserError: if our own contestant is out, or they do not compute on the same data.
    """
    found = [Found(contestant.name, contestant.ours) for contestant in contestants]
    workers = [_Worker(contestant, limit) for contestant in contestants]
    everyone = list(zip(workers, found, strict=True))

    def turn(worker: _Worker, own: Found, message: dict) -> dict:
        if own.failed is not None:
            return {}
        try:
            return worker.ask(message)
        except _Out as error:
            own.failed, own.told = str(error), worker.said()
            worker.kill()
            tell(f"{own.name}: {own.failed}" + (f"\n{_indented(own.told)}" if own.told else ""))
            if own.ours:
                raise UserError(f"{own.name}: {own.failed}\n{_indented(own.told)}".rstrip()) from None
            return {}

    try:
        for contestant, (worker, own) in zip(contestants, everyone, strict=True):
            own.built = turn(worker, own, {"do": "build", **contestant.build})
            if own.failed is None:
                tell(f"{own.name}: ready")
        _check_data(found)
        for number in range(rounds):
            for worker, own in _order(everyone, number):
                time.sleep(_SETTLE)
                own.last = turn(worker, own, {"do": "run"})
                if own.failed is None:
                    own.seconds.append(own.last["seconds"])
                    own.others.append(own.last.get("others"))
                    tell(f"round {number + 1}: {own.name} {own.last['seconds']:.3f} s")
        for worker, own in everyone:
            own.report = turn(worker, own, {"do": "report"})
    finally:
        for worker in workers:
            worker.kill()
    return found


def _order(everyone: list, number: int) -> list:
    """Another one begins in every round, and every other round goes backwards: drift hits all alike."""
    first = number % len(everyone)
    turned = everyone[first:] + everyone[:first]
    return turned if number % 2 == 0 else turned[::-1]


def _check_data(found: Sequence[Found]) -> None:
    sums = {own.name: own.built["data"] for own in found if "data" in own.built}
    if len(set(sums.values())) > 1:
        raise UserError(f"the contestants do not compute on the same data: {sums}; give them one version of numpy")


def ratios(ours: Found, theirs: Found) -> list[float]:
    """How many times as fast ours was, round by round; above 1, ours was faster."""
    return [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """median, min, max and the quartiles q1, q3."""
    ordered = sorted(values)
    quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 3
    return {
        "median": statistics.median(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "q1": quartiles[0],
        "q3": quartiles[2],
    }


class _Worker:
    """The process of one contestant; it starts with the first message."""

    def __init__(self, contestant: Contestant, limit: float):
        self._contestant, self._limit = contestant, limit
        self._process: subprocess.Popen | None = None
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, it is closed in kill
        self._replies: queue.Queue = queue.Queue()

    def ask(self, message: dict) -> dict:
        """The reply.

        Raises:
          _Out: if there is none.
        """
        if self._process is None:
            self._start()
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._replies.get(timeout=self._limit)
        except queue.Empty:
            raise _Out(f"no answer to {message['do']!r} within {self._limit:g} s") from None
        except OSError:
            line = None
        if line is None:
            self._process.wait()
            raise _Out(f"died at {message['do']!r} ({_ended(self._process.returncode)})")
        reply = json.loads(line)
        if "error" in reply:
            raise _Out(reply["error"])
        return reply

    def said(self) -> str:
        """The last lines that the process has printed."""
        self._printed.seek(0)
        return "\n".join(self._printed.read().decode(errors="replace").rstrip().splitlines()[-_LINES:])

    def kill(self) -> None:
        """Ends it and all that it has started."""
        if self._process is not None:
            # Its group may outlive it. The number is not given away before `wait`.
            for end in (lambda: os.killpg(self._process.pid, signal.SIGKILL), self._process.stdin.close):
                with contextlib.suppress(OSError):  # it is gone already
                    end()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()
            self._process = None
        self._printed.close()

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._contestant.command,
                env=os.environ | self._contestant.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                text=True,
                start_new_session=True,  # a Ctrl-C is for this process, which then ends them all
            )
        except OSError as error:
            raise _Out(f"cannot be started: {error.strerror}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put(None)


def _ended(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
