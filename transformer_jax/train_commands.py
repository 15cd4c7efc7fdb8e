"""`train`: one run, in one process or several, here or as a job of a cluster."""

import contextlib
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from transformer_jax import config_file
from transformer_jax.errors import UserError

_TEMPORARY = 75  # the exit code that says: queue me again
# Flags of a job, and their help.
_JOB = {
    "nodes": "(1)",
    "tasks_per_node": "processes on each (1)",
    "gpus_per_node": "(0)",
    "cpus_per_task": "(1)",
    "minutes": "after which the job is queued again, and the run goes on (60)",
    "partition": "of the cluster",
}


def train(args, overrides) -> int:
    """Trains, or resumes, one run."""
    from transformer_jax import config as config_lib

    config = config_file.load(args.config, overrides)
    workdir = args.workdir or Path("runs") / f"{_name(args.config)}-{config_lib.fingerprint(config)[:8]}"
    if args.launcher is not None:
        return _submit(args, config, workdir)
    given = [f"--{name}" for name in _JOB if getattr(args, name) is not None]
    if given:
        raise UserError(f"{', '.join(given)} without --launcher=slurm: nothing is submitted")
    with _terminable():
        from transformer_jax import compilation
        from transformer_jax.evaluate.answers import score
        from transformer_jax.parallel import distributed
        from transformer_jax.train.loop import train as run
        from transformer_jax.train.watchdog import heartbeat

        distributed.start(args.coordinator, args.processes, args.process, heartbeat=heartbeat(config.run.watchdog))
        if not distributed.is_first():
            logging.getLogger().setLevel(logging.ERROR)  # the same warnings from each would be too many
        compilation.keep()
        result = run(config, workdir, score=score, leaves=True, allow_changes=args.allow_changes)
    if distributed.is_first():
        _tell(result, workdir)
    return 0 if result["status"] == "finished" else 1


def _submit(args, config, workdir: Path) -> int:
    from transformer_jax.launch import Machine, submit

    if (args.coordinator, args.processes, args.process) != (None, None, None):
        raise UserError(
            "--launcher=slurm finds the processes by itself: leave out --coordinator, --processes, --process"
        )
    machine = Machine(**{name: getattr(args, name) for name in _JOB if getattr(args, name) is not None})
    print(submit(machine, config, workdir, ("--allow_changes",) if args.allow_changes else ()))
    return 0


def _tell(result: dict, workdir: Path) -> None:
    for name, value in sorted(result["metrics"].items()):
        print(f"{name:24} {'not applicable' if value is None else format(value, '.4f')}")
    print(
        f"{result['status']} at step {result['step']}: {result['parameters']:,} parameters, "
        f"{result['tokens_per_second'] or math.nan:,.0f} tokens/s; {workdir}"
    )


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM while libraries are imported and processes meet; what comes then has its own handlers."""

    def leave(number, frame):
        print(
            "interrupted: starting: nothing had to be saved; the same command starts again", file=sys.stderr, flush=True
        )
        os._exit(_TEMPORARY)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _name(location: str) -> str:
    path, _, mode = location.partition(":")
    return Path(path).stem + (f"-{mode}" if mode else "")


def add(commands, command) -> None:
    """The command and its flags."""
    sub = command("train", train)
    sub.add_argument("--config", required=True, metavar="FILE.py[:mode]", help="--config.a.b=value overrides a key")
    sub.add_argument("--workdir", type=Path, help="default: runs/NAME-FINGERPRINT")
    sub.add_argument(
        "--allow_changes",
        action="store_true",
        help="goes on with a run although config, data or mesh are not those it was begun with, and records that",
    )
    several = sub.add_argument_group("several processes (found by themselves on Slurm, TPU pods and Open MPI)")
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--processes", type=int, metavar="N", help="how many there are")
    several.add_argument("--process", type=int, metavar="I", help="which one this is, from 0")
    job = sub.add_argument_group("as a job")
    job.add_argument("--launcher", choices=("slurm",), help="submits the run and returns")
    for name, told in _JOB.items():
        job.add_argument(f"--{name}", type=str if name == "partition" else int, help=told)
    sub.set_defaults(overridable=True)
