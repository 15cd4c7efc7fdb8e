"""`python -m tests.faults.at PLACE[=NUMBER] COMMAND …`: the command line, with a fault at a place of the program.

The process sends itself a real signal where a user's could arrive. PLACE is `signal:place`, such as `SIGTERM:save`;
with `=NUMBER` not the first, but the NUMBERth time that it comes there. `bad:7,8` ruins the training batches 7 and 8.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from unittest import mock

# What is called at a place of that name.
PLACES = {
    "data": "transformer_jax.data.load",
    "compile": "transformer_jax.train.program.Program.lower_train",
    "step": "transformer_jax.train.program.Program.train",
    "eval": "transformer_jax.train.program.Program.evaluate",
    "save": "transformer_jax.train.verify.write_manifest",
    "commit": "transformer_jax.train.verify.write_json",
    "prune": "transformer_jax.train.checkpoint.Checkpoints.prune",
    "result": "transformer_jax.train.member.Member.finish",
}


def main(where: str, arguments: list[str]) -> int:
    place, _, number = where.partition("=")
    name, _, at = place.partition(":")
    if name == "bad":
        return _with_bad_batches([int(each) for each in at.split(",")], arguments)
    target, attribute = PLACES[at].rsplit(".", 1)
    from transformer_jax.__main__ import main as run

    owner = _resolve(target)
    original = getattr(owner, attribute)
    with mock.patch.object(owner, attribute, _with_signal(original, signal.Signals[name], int(number or 1))):
        return run(arguments)


def _with_bad_batches(numbers: list[int], arguments: list[str]) -> int:
    from tests.faults.planted import Planted
    from transformer_jax.__main__ import main as run
    from transformer_jax.data import Data

    original = Data.train_iterator
    with mock.patch.object(Data, "train_iterator", lambda self, *args: Planted(original(self, *args), numbers)):
        return run(arguments)


def _with_signal(function: Callable, number: signal.Signals, time: int) -> Callable:
    times = itertools.count(1)

    def call(*args, **kwargs):
        if next(times) == time:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    return call


def _resolve(name: str) -> object:
    """The module or class of a dotted name."""
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
