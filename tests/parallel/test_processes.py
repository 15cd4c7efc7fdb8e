"""Several processes train what one trains, to the last bit; and end together, however one of them ends."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from parallel.process_worker import tiny

from transformer_jax import config as config_lib
from transformer_jax.train import loop
from transformer_jax.train.checkpoint import Checkpoints

pytestmark = pytest.mark.xdist_group("processes")

WORKER = Path(__file__).with_name("process_worker.py")
_SLACK = 6.0  # seconds that a busy machine may take longer
MESHES = {
    "data": {"mesh.data": 4, "optim.accumulate": 2, "data.batch_size": 8},
    "fsdp": {"mesh.data": 1, "mesh.fsdp": 4},
    "tensor": {"mesh.data": 1, "mesh.tensor": 4},
    "tensor and context": {"mesh.data": 1, "mesh.tensor": 2, "mesh.context": 2, "model.dropout": 0.1},
    "context": {"mesh.data": 1, "mesh.context": 4},
    "data and context": {"mesh.data": 2, "mesh.context": 2, "optim.ema": 0.9, "data.workers": 1},
}


class Group:
    """`processes` of `devices` each, that run a command, or the worker; `hosts` are the directories they run in."""

    def __init__(self, folder: Path, processes: int, devices: int, *, runs=(), command=(), hosts=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = os.environ | {"XLA_FLAGS": flags, "PYTHONUNBUFFERED": "1"}
        folder.mkdir(parents=True, exist_ok=True)
        self.logs, self.all = [folder / f"{i}.log" for i in range(processes)], []
        for process, log in enumerate(self.logs):
            given = {"coordinator": coordinator, "processes": processes, "process": process}
            args = [str(WORKER), json.dumps(given | {"runs": [(c, str(w)) for c, w in runs]})]
            if command:
                args = ["-m", "transformer_jax", *command, *(f"--{key}={value}" for key, value in given.items())]
            with log.open("w") as file:
                place = None if hosts is None else hosts[process]
                arguments = [sys.executable, *args]
                self.all.append(subprocess.Popen(arguments, env=env, stdout=file, stderr=file, cwd=place))

    def said(self, process: int) -> str:
        return self.logs[process].read_text()

    def codes(self, seconds: float) -> list[int]:
        """The exit codes, for which it waits so long; the rest is killed."""
        deadline = time.monotonic() + seconds
        try:
            return [each.wait(max(0.1, deadline - time.monotonic())) for each in self.all]
        except subprocess.TimeoutExpired:
            raise AssertionError("\n".join(f"{i}: {self.said(i)[-3000:]}" for i in range(len(self.all)))) from None
        finally:
            for each in self.all:
                with contextlib.suppress(ProcessLookupError):
                    each.kill()
                each.wait()

    def until(self, text: str, process: int = 0, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.said(process):
            ended = self.all[process].poll()
            assert ended is None and time.monotonic() < deadline, f"{ended}: {self.said(process)[-3000:]}"
            time.sleep(0.05)


def trained(folder: Path, processes: int, devices: int, cases: dict[str, dict]) -> Path:
    """Runs by name in `folder`, trained one after the other by the same processes."""
    runs = [(changes, folder / name) for name, changes in cases.items()]
    group = Group(folder / "logs", processes, devices, runs=runs)
    assert group.codes(900) == [0] * processes, group.said(0)[-3000:]
    return folder


def measured(workdir: Path) -> list[dict]:
    """What a run has measured; what it took is left out, and what was measured twice because it was resumed."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    took = ("seconds", "train/tokens_per_second", "train/waiting_for_data", "train/model_flops_utilisation")
    return list({str(row): row for row in ({k: v for k, v in each.items() if k not in took} for each in rows)}.values())


def state_of(workdir: Path, changes: dict):
    """The newest checkpoint, read by this one process with its one device."""
    config = tiny({key: value for key, value in changes.items() if not key.startswith("mesh.")})
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh, jax.devices()[:1]))
    state, rest = Checkpoints(workdir / "checkpoints", 5).restore(program.state_structs)
    return jax.tree.map(np.asarray, state), rest


def assert_same(one: Path, other: Path, changes: dict) -> None:
    assert measured(one) == measured(other) and measured(one)
    results = [json.loads((each / "result.json").read_text()) for each in (one, other)]
    for name in ("metrics", "counted", "step", "skipped"):
        assert results[0][name] == results[1][name], name
    (state, rest), (same, equal) = (state_of(each, changes) for each in (one, other))
    jax.tree.map(np.testing.assert_array_equal, state, same)
    assert rest["data"] == equal["data"] and rest["counted"] == equal["counted"]


def command(tmp_path: Path, workdir: Path, **changes) -> list[str]:
    """`train` of a run of 80 updates, one at a time, in a mesh whose first axis lies across processes."""
    sizes = {"train.steps": 80, "train.eval_every": 40, "train.steps_per_dispatch": 1, "run.log_every": 10}
    keys = {"run.checkpoint_every": 1000, "mesh.data": 1, "mesh.fsdp": -1, "model.dropout": 0.1}
    config = config_lib.to_dict(tiny(sizes | keys | changes))
    text = f"import json\nfrom transformer_jax import config\nSAVED = {json.dumps(config)!r}\n"
    (tmp_path / "c.py").write_text(text + "def get_config(mode): return config.from_dict(json.loads(SAVED))\n")
    return ["train", f"--config={tmp_path}/c.py", f"--workdir={workdir}"]


def stopped_at(group: Group) -> set[str]:
    return {step for i in range(len(group.all)) for step in re.findall(r"stopped at step (\d+)", group.said(i))}


def test_a_signal_to_one_stops_all_at_one_step_and_any_number_of_processes_goes_on(tmp_path):
    """On the way: two processes give what one gives; the mesh has an axis across them and one within."""
    mesh = {"mesh.fsdp": 2, "mesh.tensor": 2}
    group = Group(tmp_path / "a", 2, 2, command=command(tmp_path, tmp_path / "run", **mesh))
    group.until("step 10/")
    group.all[1].send_signal(signal.SIGTERM)
    assert group.codes(120) == [75, 75] and len(stopped_at(group)) == 1, group.said(0) + group.said(1)
    assert "Traceback" not in group.said(0) + group.said(1)
    (step,) = stopped_at(group)
    assert (tmp_path / f"run/checkpoints/{step}").is_dir() and 10 <= int(step) < 80
    again = Group(tmp_path / "b", 1, 4, command=command(tmp_path, tmp_path / "run", **mesh))
    whole = Group(tmp_path / "c", 1, 4, command=command(tmp_path, tmp_path / "whole", **mesh))
    assert again.codes(200) + whole.codes(200) == [0, 0], again.said(0) + whole.said(0)
    assert_same(tmp_path / "whole", tmp_path / "run", mesh)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["process_count"] == 1 and manifest["processes"] == [
        {"step": 0, "process_count": 2},
        {"step": int(step), "process_count": 1},
    ]


@pytest.mark.parametrize(
    ("number", "rank"),
    [
        pytest.param(signal.SIGKILL, 0, marks=pytest.mark.slow),
        (signal.SIGKILL, 1),
        pytest.param(signal.SIGSTOP, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 1, marks=pytest.mark.slow),
    ],
)
def test_all_end_if_one_is_killed_or_stopped(tmp_path, number, rank):
    seconds = 10.0
    endless = {"train.steps": 100_000, "train.eval_every": 100_000, "run.watchdog": seconds}
    group = Group(tmp_path / "a", 2, 1, command=command(tmp_path, tmp_path / "run", **endless))
    group.until("step 10/")
    group.all[rank].send_signal(number)
    began = time.monotonic()
    code = group.all[1 - rank].wait(seconds + 30.0)
    assert time.monotonic() - began < seconds + _SLACK and code not in (0, None), group.said(1 - rank)[-3000:]
    if number == signal.SIGSTOP:
        group.all[rank].send_signal(signal.SIGCONT)
        assert group.all[rank].wait(seconds + 30.0) not in (0, None)
    said = group.said(1 - rank)
    assert "Traceback" in said or "most recent call first" in said, said[-3000:]
    group.codes(1.0)


@pytest.mark.slow
def test_a_run_goes_on_on_another_mesh_if_it_may(tmp_path):
    """It differs by rounding then: after some tens of updates by 1e-4 of the loss at most."""
    mesh, other = {"mesh.fsdp": 2, "mesh.tensor": 2}, {"mesh.data": 2, "mesh.fsdp": 1}
    group = Group(tmp_path / "a", 2, 2, command=command(tmp_path, tmp_path / "run", **mesh))
    group.until("step 10/")
    group.all[0].send_signal(signal.SIGINT)
    assert group.codes(200) == [130, 130] and len(stopped_at(group)) == 1, group.said(0) + group.said(1)
    again = command(tmp_path, tmp_path / "run", **other)
    refused = Group(tmp_path / "b", 2, 1, command=again)
    assert refused.codes(200) == [2, 2] and "--allow_changes" in refused.said(1), refused.said(0)
    allowed = Group(tmp_path / "c", 2, 1, command=[*again, "--allow_changes"])
    assert allowed.codes(200) == [0, 0], allowed.said(0)
    whole = Group(tmp_path / "d", 1, 4, command=command(tmp_path, tmp_path / "whole", **mesh))
    assert whole.codes(200) == [0], whole.said(0)
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "run"))
    assert one["counted"] == two["counted"]
    assert two["metrics"]["valid/loss"] == pytest.approx(one["metrics"]["valid/loss"], rel=1e-4)


@pytest.mark.slow
def test_what_one_process_cannot_do_ends_all(tmp_path):
    """A file that only one host lacks: nobody waits for the others."""
    text = {"data.corpus": "text(path='here.txt')", "data.view": "text", "train.steps": 4}
    ours = command(tmp_path, tmp_path / "run", **text)
    for process in range(2):
        (tmp_path / f"host{process}").mkdir()
    (tmp_path / "host0/here.txt").write_text("one two three four five six seven " * 200)
    group = Group(tmp_path / "a", 2, 1, command=ours, hosts=[tmp_path / "host0", tmp_path / "host1"])
    assert group.codes(120) == [2, 2], group.said(0)
    assert all("process 1 of 2: " in group.said(i) and "here.txt" in group.said(i) for i in range(2)), group.said(0)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_every_axis_across_processes(tmp_path, processes):
    one = trained(tmp_path / "one", 1, 4, MESHES)
    several = trained(tmp_path / "several", processes, 4 // processes, MESHES)
    for name, changes in MESHES.items():
        assert_same(one / name, several / name, changes)
