"""A process without progress ends with 70 and stacks; one that is asked to stop, with 75 and a checkpoint or a line."""

import os
import signal
import subprocess
import sys
import time

import pytest

from transformer_jax.train.stopping import Interrupted, Stop
from transformer_jax.train.watchdog import Watchdog, heartbeat, silence

PRELUDE = """
import os, signal, sys, threading, time
import jax
from transformer_jax.parallel import distributed
from transformer_jax.train.stopping import Stop
from transformer_jax.train.watchdog import Watchdog
"""


def ran(code: str, *, send=None, seconds: float = 60.0) -> tuple[int, str, float]:
    """(exit code, stderr, seconds after 'ready') of a Python program, to which a signal is sent when it is ready."""
    process = subprocess.Popen([sys.executable, "-c", PRELUDE + code], stdout=-1, stderr=-1, text=True, env=os.environ)
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    began = time.monotonic()
    if send is not None:
        process.send_signal(send)
    _, told = process.communicate(timeout=seconds)
    return process.returncode, told, time.monotonic() - began


def test_a_hang_ends_with_70_and_stacks():
    code, told, took = ran("""
def where_it_hangs():
    print("ready", flush=True)
    time.sleep(60)
with Watchdog(1.0) as watchdog:
    watchdog.made("training")
    where_it_hangs()
""")
    assert code == 70 and took < 20
    assert "no progress for 1 s (run.watchdog=1) while training" in told and "in where_it_hangs" in told


def test_a_hang_that_holds_the_interpreter_ends_too():
    """A thread of Python cannot look then; that of faulthandler can."""
    code, told, took = ran("""
import ctypes
with Watchdog(1.0) as watchdog:
    watchdog.made("training")
    time.sleep(0.6)
    print("ready", flush=True)
    ctypes.PyDLL(None).sleep(60)
""")
    assert code == 1 and took < 30 and "Timeout" in told and "most recent call first" in told


def test_progress_is_what_the_devices_have_done():
    class Array:
        def __init__(self, seconds):
            self.there = time.monotonic() + seconds

        def is_ready(self):
            return time.monotonic() > self.there

    with Watchdog(1.0) as watchdog:  # would end these tests
        watchdog.made("training")
        for each in range(4):
            watchdog.expect(Array(0.5 * each))
        time.sleep(1.8)
        with watchdog.slow("compiling"):
            time.sleep(1.5)
        with watchdog.paused("writing answers"):
            time.sleep(1.2)


def test_the_times_for_several_processes_are_within_the_one_that_is_set():
    for seconds in (5.0, 10.0, 60.0, 1800.0):
        assert silence(seconds) < heartbeat(seconds) <= seconds
    assert heartbeat(0.0) > 60


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_what_loses_nothing_ends_in_one_line(number, expected):
    code, told, took = ran(
        """
with Stop("preparing", leaves=True):
    print("ready", flush=True)
    time.sleep(60)
""",
        send=number,
    )
    assert code == expected and took < 20, told
    (line,) = told.splitlines()
    assert line.startswith("interrupted: preparing: nothing had to be saved")


def test_a_compiler_that_hears_nothing_is_not_waited_for():
    """Python runs handlers in the main thread only, when it comes back from C."""
    code, told, took = ran(
        """
import ctypes
def blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # so that another thread gets the signal
    print("ready", flush=True)
    ctypes.CDLL(None).sleep(60)
with Stop("compiling the train step", leaves=True):
    blocked()
""",
        send=signal.SIGTERM,
    )
    assert code == 75 and took < 20, told
    (line,) = told.splitlines()
    assert line.startswith("interrupted: compiling the train step: nothing had to be saved")


def test_in_a_program_of_others_it_raises():
    with pytest.raises(Interrupted, match="preparing: nothing had to be saved") as raised, Stop("preparing"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert raised.value.code == 75


def test_what_would_be_lost_is_waited_for():
    with Stop("preparing") as stop:
        stop.safe = ""
        assert not stop.reached()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        assert stop.reached()
        assert stop.interrupted("stopped at step 3").code == 75
        with pytest.raises(Interrupted, match="writing answers"), stop.nothing_to_lose("writing answers"):
            pass
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
