"""Several processes on one study, and processes that are killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from study.fake_worker import command, noted, processes
from study.study_fakes import FakeTrainer, accept, study

from transformer_jax import config
from transformer_jax.errors import UserError
from transformer_jax.study import Store, param, run_study, write_report
from transformer_jax.study.launch import base, launchers, local

ALL = sorted((heads, seed) for heads in (4, 1, 2) for seed in range(3))


@pytest.fixture
def workers(monkeypatch):
    """Workers that only take their time; call it to choose how much, and which runs fail."""

    def choose(*arguments):
        monkeypatch.setattr(local, "worker_command", lambda directory: command(directory, *arguments))

    monkeypatch.setattr(local, "gpus", lambda: [])
    choose()
    return choose


def declared(directory, members=1, **changes):
    """A planned study, of which nothing is run."""
    with pytest.raises(KeyboardInterrupt):
        stopped = FakeTrainer(broken={(4, 0): KeyboardInterrupt()})
        run_study(study(**changes), directory, trainer=stopped, validator=accept, members=members, tell=str)
    return Store(directory)


def launch(directory, tell=str, made=None, **more):
    given = {"launcher": "local", "processes": 2, "members": 1}
    return run_study(made or study(), directory, validator=accept, tell=tell, **(given | more))


@pytest.fixture(autouse=True)
def group(monkeypatch):
    """These tests train nothing, so they group by the number of heads."""
    from transformer_jax.study import run

    monkeypatch.setattr(run._Start, "_group", lambda self: lambda config: str(config.model.heads))


def report_of(directory):
    write_report(directory)
    return (directory / "report" / "results.csv").read_text()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_processes_never_train_the_same_run(tmp_path):
    declared(tmp_path)
    both = [subprocess.Popen(command(tmp_path, 0.3), stdout=subprocess.PIPE) for _ in range(2)]
    told = [each.communicate(timeout=60)[0].decode() for each in both]
    assert [each.returncode for each in both] == [0, 0]
    log = tmp_path / "calls.log"
    assert sorted(noted(log, "begin")) == ALL and sorted(noted(log, "end")) == ALL
    assert len(processes(log)) == 2
    assert sum(line.count("bits_per_byte") for line in told) == 9
    assert all(run.status == "finished" for run in Store(tmp_path).runs())


def test_kill_9_loses_nothing_and_nothing_is_trained_twice(tmp_path):
    declared(tmp_path, members=None)
    log = tmp_path / "calls.log"
    first = subprocess.Popen(command(tmp_path, 0.2), stdout=subprocess.DEVNULL)
    until(lambda: len(noted(log, "end")) == 4 and len(noted(log, "begin")) == 5)
    first.kill()
    first.wait()
    (cut,) = set(noted(log, "begin")) - set(noted(log, "end"))
    subprocess.run(command(tmp_path, 0), check=True, stdout=subprocess.DEVNULL, timeout=60)
    assert sorted(noted(log, "end")) == ALL
    assert sorted(noted(log, "begin")) == sorted([*ALL, cut])
    undisturbed = tmp_path / "undisturbed"
    run_study(study(), undisturbed, trainer=FakeTrainer(), validator=accept, tell=str)
    assert report_of(tmp_path) == report_of(undisturbed)


def test_local_workers_share_the_cores_and_the_study(tmp_path, workers):
    workers(0.3)
    told = []
    summary = launch(tmp_path, told.append)
    assert summary.complete and summary.skipped == 0
    log = tmp_path / "calls.log"
    assert sorted(noted(log, "begin")) == ALL
    cores = len(os.sched_getaffinity(0))
    assert set(processes(log).values()) <= {str(max(1, cores // 2)), str(max(1, cores - cores // 2))}
    assert len(processes(log)) == 2
    assert any("worker 1: [" in line and "valid/bits_per_byte 2." in line for line in told)
    assert sorted(path.suffix for path in (tmp_path / "logs").iterdir()) == [".err", ".err", ".out", ".out"]
    assert launch(tmp_path).skipped == 9 and len(noted(log, "begin")) == 9


def test_what_fails_is_tried_once_a_launch_however_many_workers(tmp_path, workers):
    workers(0.05, "1,1", "2,2")
    summary = launch(tmp_path)
    assert [(run.label, run.seed, run.problem) for run in summary.failed] == [
        ("heads=1", 1, "RuntimeError: out of memory"),
        ("heads=2", 2, "RuntimeError: out of memory"),
    ]
    log = tmp_path / "calls.log"
    assert sorted(noted(log, "begin")) == ALL
    workers(0.0)
    assert launch(tmp_path).complete
    assert sorted(noted(log, "begin")) == sorted([*ALL, (1, 1), (2, 2)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on_and_the_workers_are_waited_for(tmp_path, workers, number):
    workers(0.5)
    told = []

    def tell(line):
        told.append(line)
        if "worker" in line and "running" in line and "stopping" not in "".join(told):
            os.kill(os.getpid(), number)
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        launch(tmp_path, tell)
    assert any("stopping" in line for line in told)
    log = tmp_path / "calls.log"
    assert not noted(log, "end")
    workers(0.0)
    assert launch(tmp_path).complete


def test_a_worker_that_dies_is_told_and_the_others_go_on(tmp_path, workers):
    workers(0.2)
    told = []

    def tell(line):
        told.append(line)
        log = tmp_path / "calls.log"
        if log.is_file() and "killed" not in told:
            told.append("killed")
            os.kill(int(next(iter(processes(log)))), signal.SIGKILL)

    assert launch(tmp_path, tell).complete
    assert any("ended with code -9" in line for line in told)


def test_a_worker_that_refuses_says_why(tmp_path, monkeypatch, workers):
    code = "import sys; print('noise\\nerror: the metric is not measured', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(local, "worker_command", lambda directory: [sys.executable, "-c", code])
    with pytest.raises(UserError, match=r"^the metric is not measured$"):
        launch(tmp_path)


@pytest.mark.slow
def test_real_runs_are_trained_by_real_workers(tmp_path, monkeypatch):
    """`study work` in processes of its own, with what trains by default, once killed; alone it comes to the same."""
    monkeypatch.undo()  # the grouping is the trainer's own
    monkeypatch.setenv("TRANSFORMER_JAX_COMPILATION_CACHE", "on")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(local, "gpus", lambda: [])
    made = real_study()
    told = []

    def tell(line):
        told.append(line)
        pids = [worker for worker in running if worker.process.poll() is None]
        if "killed" not in told and len(list(tmp_path.glob("local/runs/*/checkpoints/*"))) > 2:
            told.append("killed")
            pids[0].process.kill()

    running = []
    start = local.Worker.__init__

    def remember(worker, *arguments):
        start(worker, *arguments)
        running.append(worker)

    monkeypatch.setattr(local.Worker, "__init__", remember)
    run_study(made, tmp_path / "local", launcher="local", processes=2, tell=tell)
    assert run_study(made, tmp_path / "local", tell=str).complete
    assert run_study(made, tmp_path / "alone", tell=str).complete
    both = zip(Store(tmp_path / "local").runs(), Store(tmp_path / "alone").runs(), strict=True)
    for one, other in both:
        assert one.result["metrics"] == pytest.approx(other.result["metrics"], rel=1e-5)
    assert list((tmp_path / "caches").glob("transformer_jax/compiled/*"))


def real_study():
    base = config.base()
    base.data.corpus, base.data.view = "copy(train=(1, 5))", "prompt_answer"
    base.data.length, base.data.batch_size = 16, 4
    base.model.layers, base.model.width, base.model.heads = 1, 16, 2
    base.train.steps, base.train.eval_every, base.train.eval_batches, base.train.steps_per_dispatch = 40, 20, 1, 5
    base.optim.warmup_steps = 5
    base.run.checkpoint_every, base.run.log_every, base.run.tensorboard = 10, 5, False
    grid = param("model.position", ["rope", "none"])
    return study(grid, base=base, seeds=2)


def test_gpus_are_shared_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,5,7")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert local.gpus() == ["0", "1", "5", "7"]
    assert launchers.build("local").parts == 4

    def environments(workers):
        return [dict(share.environment) for share in local.shares(workers)]

    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments(2)] == ["0,1", "5,7"]
    assert environments(2)[0] == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments(6)] == ["0", "1", "5", "7", "0", "1"]
    assert environments(6)[0]["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.45"
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert local.gpus() == []


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(local, "gpus", lambda: [])
    monkeypatch.setattr(local, "cores", lambda: [0, 1, 2, 3, 8])
    assert [share.cores for share in local.shares(2)] == [(0, 1), (2, 3, 8)]
    assert [share.cores for share in local.shares(7)] == [(0,), (1,), (2,), (3,), (8,), (0,), (1,)]


def test_launchers_are_asked_for_by_name(tmp_path):
    assert {"here", "local", "slurm"} <= set(launchers.names())
    with pytest.raises(UserError, match=r"unknown launcher 'slrum' \(did you mean 'slurm'\?\)"):
        run_study(study(), tmp_path, validator=accept, launcher="slrum")
    with pytest.raises(UserError, match="processes=2: give --launcher=local"):
        run_study(study(), tmp_path, validator=accept, processes=2)
    with pytest.raises(UserError, match="processes=0: give 1 or more"):
        run_study(study(), tmp_path, validator=accept, launcher="local", processes=0)
    with pytest.raises(UserError, match="members=0: give 1 or more"):
        run_study(study(), tmp_path, validator=accept, members=0)
    with pytest.raises(ValueError, match="cannot be given a trainer"):
        run_study(study(), tmp_path, validator=accept, launcher="local", trainer=FakeTrainer())
    assert not list(tmp_path.iterdir())
    assert base.worker_command(tmp_path)[1:] == ["-m", "transformer_jax", "study", "work", str(tmp_path)]
