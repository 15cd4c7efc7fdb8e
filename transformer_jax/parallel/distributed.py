"""Several processes, one run: how they find each other, and what they agree on.

What is agreed goes through jax's coordination service, which process 0 holds, and not over the devices: it needs no
compiled program, works while devices hang, and may be used from any thread. In one process nothing happens here.
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, TypeVar

import jax

from transformer_jax.errors import UserError

TEMPORARY, SOFTWARE, INTERRUPTED = 75, 70, 130  # exit codes: queue me again; ended by the watchdog; Ctrl-C
_FOREVER = 24 * 3600.0  # seconds: who waits for a process that is gone is ended by heartbeats or by the watchdog
_LEFT = "left/"
_turns: dict[str, Iterator[int]] = defaultdict(itertools.count)
_Value = TypeVar("_Value")


class AgreedError(UserError):
    """A mistake of the user's that every process has been told, so that all end in the same way."""

    agreed = True


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat: int = 100,
    timeout: int = 300,
) -> None:
    """Joins the processes of one run, before anything else of jax is used. Does nothing where there is one.

    Without arguments the others are found where jax can: Slurm (`srun`), TPU pods, Open MPI (`mpirun`). If one process
    is asked for, it adds up over its CPU devices in the order in which several would, and so gives the same bits.

    Args:
      coordinator: HOST:PORT of process 0, which listens there.
      processes: how many there are.
      process: which one this is, from 0.
      heartbeat: seconds after which a process that says nothing counts as dead.
      timeout: seconds to wait for the others.

    Raises:
      UserError: naming the flag that is missing or wrong, or if the others cannot be reached.
    """
    devices = None
    if (coordinator, processes, process) == (None, None, None):
        coordinator, processes, process, devices = _detected(timeout)
        if processes is None or processes == 1:
            return
    coordinator, processes, process = _checked(coordinator, processes, process)
    # Its handler would take the place of ours for SIGTERM, and it knows no SIGINT (`train.stopping`).
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            local_device_ids=devices,
            cluster_detection_method="deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=60,
        )
    except RuntimeError as error:
        raise UserError(
            f"--coordinator={coordinator}: process {process} of {processes} did not meet the others in {timeout} s: "
            f"{str(error).splitlines()[0]}"
        ) from None


def _detected(timeout: int) -> tuple[str | None, int | None, int | None, list[int] | None]:
    """(coordinator, processes, process, numbers of the devices that are this one's) as the cluster says."""
    from jax._src.clusters import ClusterEnv  # there is no public way to ask without starting

    if int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1 and "OMPI_MCA_orte_hnp_uri" not in os.environ:
        raise UserError(
            "this Open MPI does not say where process 0 is: give --coordinator=HOST:PORT "
            "--processes=$OMPI_COMM_WORLD_SIZE --process=$OMPI_COMM_WORLD_RANK"
        )
    found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, timeout)
    # jax gives each process one device of its node, which is wrong for a process that has the node for itself.
    return (*found[:3], None if _alone_on_node() else found[3])


def _alone_on_node() -> bool:
    slurm = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "").partition("(")[0]
    return "1" in (slurm, os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")) or "JAX_LOCAL_DEVICE_IDS" in os.environ


def _checked(coordinator: str | None, processes: int | None, process: int | None) -> tuple[str, int, int]:
    """The same, all given and in range.

    Raises:
      UserError: naming the flag.
    """
    given = {"--coordinator=HOST:PORT": coordinator, "--processes=N": processes, "--process=I": process}
    missing = [flag for flag, value in given.items() if value is None]
    if missing:
        raise UserError(f"a run of several processes needs {' and '.join(missing)} as well")
    if processes < 1:
        raise UserError(f"--processes={processes}: give how many there are, at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process={process}: give 0 to {processes - 1}, another number to each process")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={coordinator}: give HOST:PORT of process 0, such as node1:12345")
    return coordinator, processes, process


def several() -> bool:
    """Whether this process is one of several that train one run."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this is process 0, the only one that writes reports and talks."""
    return not several() or jax.process_index() == 0


def number() -> int:
    return jax.process_index() if several() else 0


def barrier(name: str) -> None:
    """Returns when all processes are here."""
    if several():
        _client().wait_at_barrier(f"{name}/{next(_turns[name])}", int(_FOREVER * 1000))


def gather(value: _Value, channel: str = "gather", seconds: float = _FOREVER) -> list[_Value]:
    """The JSON-ready values that all processes give, in their order. All must come here in the same order.

    Args:
      channel: threads that gather beside each other need one each.
      seconds: to wait for the others.
    """
    if not several():
        return [value]
    turn, client = next(_turns[channel]), _client()
    folder = f"{channel}/{turn}/"
    client.key_value_set(f"{folder}{number()}", json.dumps(value))
    client.wait_at_barrier(f"{channel}/{turn}", int(seconds * 1000))
    found = {int(key.rpartition("/")[2]): json.loads(text) for key, text in client.key_value_dir_get(folder)}
    if turn:  # whoever has come to this barrier has read the turn before
        client.key_value_delete(f"{channel}/{turn - 1}/{number()}")
    return [found[i] for i in range(jax.process_count())]


def any_of(flag: bool) -> bool:
    """Whether any process says so; all get the same answer."""
    return any(gather(bool(flag)))


def summed(counts: Mapping[str, int]) -> dict[str, int]:
    """Whole numbers added up over the processes."""
    each = gather(dict(counts))
    return {name: sum(own[name] for own in each) for name in counts}


def from_first(function: Callable[..., _Value], *args) -> _Value:
    """What `function(*args)` gives on process 0, which alone calls it; JSON-ready.

    Raises:
      UserError: on all processes, if it does there.
    """
    if not several():
        return function(*args)
    told = {}
    if is_first():
        try:
            told = {"value": function(*args)}
        except UserError as error:
            told = {"error": str(error)}
    told = gather(told)[0]
    if "error" in told:
        raise AgreedError(told["error"])
    return told["value"]


def everywhere(function: Callable[..., _Value], *args) -> _Value:
    """What `function(*args)` gives here, called by all processes.

    Raises:
      UserError: on all processes, if it does on one.
    """
    if not several():
        return function(*args)
    value, error = None, ""
    try:
        value = function(*args)
    except UserError as raised:
        error = str(raised)
    errors = gather(error)
    at = [i for i, each in enumerate(errors) if each]
    if not at:
        return value
    only = "" if len(at) == len(errors) else f"process {at[0]} of {len(errors)}: "
    raise AgreedError(only + errors[at[0]])


def say(line: str) -> None:
    """Prints a line, once."""
    if is_first():
        print(line, flush=True)


def put(x, sharding) -> jax.Array:
    """A host's array, which all processes have alike, on the devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def post(key: str, value: str) -> None:
    """Tells all processes something that they may look for."""
    _client().key_value_set(key, value, allow_overwrite=True)


def posted(folder: str) -> dict[str, str]:
    """What has been told under `folder`, by the rest of its key."""
    return {key.removeprefix(folder): value for key, value in _client().key_value_dir_get(folder)}


def who_left() -> str:
    """Why a process has ended before the others; empty if none has."""
    return "; ".join(f"process {i} has ended: {why}" for i, why in sorted(posted(_LEFT).items()))


def leave(code: int, why: str = "") -> NoReturn:
    """Ends this process at once, without waiting for others, which are told why."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if several() and why:  # by a thread: where process 0 is stopped, this would take for ever
        told = threading.Thread(target=_try_post, args=(f"{_LEFT}{number()}", why), daemon=True)
        told.start()
        told.join(timeout=2.0)
    if several() and is_first():
        time.sleep(3.0)  # what the others have to read lies in this process
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def _try_post(key: str, value: str) -> None:
    with contextlib.suppress(Exception):
        post(key, value)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is raised inside by one process alone ends all of them; by itself it would wait for the others."""
    try:
        yield
    except BaseException as error:
        if not several() or getattr(error, "agreed", False):
            raise
        if isinstance(error, UserError):
            print(f"error: process {number()}: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        code = 2 if isinstance(error, UserError) else INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        leave(code, f"{type(error).__name__}: {str(error)[:500]}")


def _client():
    from jax._src.distributed import global_state  # there is no public way to the key-value store

    return global_state.client
