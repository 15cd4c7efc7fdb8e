"""How processes find each other, which rows each loads, and what is refused; without other processes."""

import jax
import numpy as np
import pytest
from parallel.process_worker import tiny

from transformer_jax.errors import UserError
from transformer_jax.parallel import distributed
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.parallel.share import Share, share_of
from transformer_jax.train import loop

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "node[007-008]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
OMPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


@pytest.fixture
def started(monkeypatch):
    """What jax would be started with."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **more: calls.append((args, more)))
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    return calls


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("node0:1234", None, None), r"needs --processes=N and --process=I as well"),
        ((None, 2, 0), r"needs --coordinator=HOST:PORT as well"),
        (("node0:1234", 2, 2), r"--process=2: give 0 to 1"),
        (("node0:1234", 0, 0), r"--processes=0: give how many there are"),
        (("node0", 2, 0), r"--coordinator=node0: give HOST:PORT"),
        (("node0:70000", 2, 0), r"--coordinator=node0:70000: give HOST:PORT"),
    ],
)
def test_a_wrong_flag_is_named(started, given, message):
    with pytest.raises(UserError, match=message):
        distributed.start(*given)
    assert not started


def test_flags_are_taken_as_they_are(started):
    distributed.start("node0:1234", 2, 1, heartbeat=7)
    ((args, more),) = started
    assert args == ("node0:1234", 2, 1) and more["heartbeat_timeout_seconds"] == 7
    assert more["local_device_ids"] is None and more["cluster_detection_method"] == "deactivate"


@pytest.mark.parametrize(("tasks", "devices"), [("1(x2)", None), ("4(x2)", [0]), ("2,1", [0])])
def test_slurm_is_found(started, monkeypatch, tasks, devices):
    for name, value in (SLURM | {"SLURM_STEP_TASKS_PER_NODE": tasks}).items():
        monkeypatch.setenv(name, value)
    distributed.start()
    ((args, more),) = started
    assert args[0].startswith("node007:") and args[1:] == (2, 1)
    assert more["local_device_ids"] == devices  # a process that is alone on its node has all of them


def test_open_mpi_is_found_or_told_what_it_lacks(started, monkeypatch):
    for name, value in OMPI.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"--coordinator=HOST:PORT --processes=\$OMPI_COMM_WORLD_SIZE"):
        distributed.start()
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
    distributed.start()
    assert started[0][0][0].startswith("10.96.0.1:") and started[0][0][1:] == (4, 3)


def test_nothing_is_started_for_one_process(started, monkeypatch):
    distributed.start()
    for name, value in (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}).items():
        monkeypatch.setenv(name, value)
    distributed.start()
    assert not started


def test_who_cannot_be_met_is_told(monkeypatch, started):
    def refused(*args, **more):
        raise RuntimeError("DEADLINE_EXCEEDED: too long\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", refused)
    with pytest.raises(UserError, match=r"=node0:1: process 1 of 2 did not meet .* in 5 s: DEADLINE.*long$"):
        distributed.start("node0:1", 2, 1, timeout=5)


def test_one_process_agrees_with_itself():
    assert distributed.is_first() and not distributed.several() and distributed.number() == 0
    assert distributed.gather(3) == [3] and distributed.any_of(True) and not distributed.any_of(False)
    assert distributed.summed({"a": 2}) == {"a": 2} and distributed.from_first(max, 1, 2) == 2
    distributed.barrier("here")


def test_rows_of_a_share():
    share = Share(8, np.asarray([0, 1, 4, 5]), np.asarray([True, True, False, False]))
    np.testing.assert_array_equal(share.slice(slice(4, 6)), [2, 3])
    np.testing.assert_array_equal(share.slice(slice(0, 2, None)), [0, 1])
    assert share_of(make_mesh(tiny({"mesh.data": 1}).mesh, jax.devices()[:1]), 8) is None


@pytest.mark.parametrize(
    ("changes", "runs", "message"),
    [
        ({}, 2, "2 runs that train together, in 4 processes: a population trains in one process"),
        ({"train.answers": 5}, 1, "train.answers=5 in 4 processes: .*give 0, and `evaluate` the run"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(monkeypatch, changes, runs, message):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(UserError, match=r"have not met: call parallel\.distributed\.start"):
        loop._check_processes([tiny(changes)] * runs)
    monkeypatch.setattr(distributed, "several", lambda: True)
    with pytest.raises(distributed.AgreedError, match=message):
        loop._check_processes([tiny(changes)] * runs)
