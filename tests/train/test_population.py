"""Runs that train together: each as if alone, none touched by another, resumed bit for bit."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from population_cases import members, tiny

from transformer_jax.errors import UserError
from transformer_jax.parallel.mesh import AXES
from transformer_jax.study.store import read_run
from transformer_jax.train import loop, population, rundir, runs
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.hyper import DYNAMIC, static_key

# What differs between the members of one program, two of each; the first is the default, or on where that is static.
DIFFERENT = {
    "seed": (0, 7),
    "init_salt": (0, 3),
    "model.init_scale": (1.0, 0.5),
    "model.dropout": (0.1, 0.3),
    "model.head_mask": ("all", "decoder.attention 0.1, decoder.attention 1.3"),
    "objective.label_smoothing": (0.1, 0.2),
    "objective.z_loss": (1e-4, 1e-2),
    "optim.learning_rate": (2e-3, 5e-3),
    "optim.weight_decay": (0.1, 0.5),
    "optim.b1": (0.9, 0.8),
    "optim.b2": (0.95, 0.99),
}


def state_of(config, workdir, step=None):
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh))
    checkpoints = Checkpoints(workdir / "checkpoints", 5)
    state, rest = checkpoints.restore(program.state_structs, step)
    checkpoints.close()
    return jax.tree.map(np.asarray, state), rest["data"]


def assert_bit_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def losses(workdir):
    run = read_run(workdir, "", 0)
    return [*run.curve("train/loss").values(), *run.curve("valid/loss").values()]


def test_each_member_is_as_if_it_trained_alone(tmp_path):
    """One member per hyperparameter that may differ, all as one program."""
    first = {key.replace(".", "__"): values[0] for key, values in DIFFERENT.items()}
    configs = [tiny(**first)]
    configs += [tiny(**(first | {key.replace(".", "__"): values[1]})) for key, values in DIFFERENT.items()]
    assert DIFFERENT.keys() == DYNAMIC.keys() and len({static_key(config) for config in configs}) == 1
    together = [tmp_path / f"together{i}" for i in range(len(configs))]
    results = loop.train_together(configs, together)
    assert {result["members"] for result in results} == {len(configs)}
    compiled = set()
    for i, config in enumerate(configs):
        alone = loop.train(config, tmp_path / f"alone{i}")
        compiled.add(loop.compiled_program(config, 259, loop.make_mesh(config.mesh)))
        # The same sums in another order; 8 updates in float32.
        np.testing.assert_allclose(losses(together[i]), losses(tmp_path / f"alone{i}"), rtol=1e-5)
        assert results[i]["metrics"].keys() == alone["metrics"].keys()
        assert results[i]["parameters"] == alone["parameters"]
    assert len(compiled) == 1  # alone, too, such numbers are data
    curves = [tuple(losses(directory)) for directory in together]
    assert len(set(curves)) == len(curves)  # every hyperparameter did something


def test_a_member_that_diverges_leaves_the_others_bit_equal(tmp_path):
    good = members(3, optim__clip=0.0, train__max_skipped=2)
    bad = members(3, optim__clip=0.0, train__max_skipped=2)
    bad[1].optim.learning_rate = 1e38
    a, b = ([tmp_path / f"{name}{i}" for i in range(3)] for name in "ab")
    loop.train_together(good, a)
    results = loop.train_together(bad, b)
    assert [result["status"] for result in results] == ["finished", "diverged", "finished"]
    assert results[1]["skipped"] > 2 and results[1]["step"] < 8 and results[1]["metrics"] == {}
    for i in (0, 2):
        assert_bit_equal(state_of(good[i], a[i]), state_of(good[i], b[i]))
        assert losses(a[i]) == losses(b[i])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("saves", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5))])
def test_killed_and_resumed_is_bit_equal(tmp_path, monkeypatch, saves):
    """Of 3 members, killed when the first 2 have the first checkpoint, or 1 or 2 the second one."""
    configs = members(3, model__dropout=0.1, run__keep_checkpoints=1, run__log_every=8)
    a, b = ([tmp_path / f"{name}{i}" for i in range(3)] for name in "ab")
    whole = loop.train_together(configs, a)
    save, count = Checkpoints.save, []

    def save_and_die(self, step, *args):
        save(self, step, *args)
        count.append(step)
        if len(count) == saves:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    with pytest.raises(Killed):
        loop.train_together(configs, b)
    monkeypatch.undo()
    resumed = loop.train_together(configs, b)
    for i in range(3):
        assert resumed[i]["metrics"] == whole[i]["metrics"]
        assert losses(a[i]) == losses(b[i])
        assert_bit_equal(state_of(configs[i], a[i]), state_of(configs[i], b[i]))


def test_a_member_that_has_ended_keeps_its_slot(tmp_path, monkeypatch):
    """Killed while results are written: those that have none finish, and nothing is done twice."""
    configs = members(3)
    a, b = ([tmp_path / f"{name}{i}" for i in range(3)] for name in "ab")
    loop.train_together(configs, a)
    finish = loop.Member.finish

    def finish_and_die(self, result):
        finish(self, result)
        if self.slot == 0:
            raise Killed

    monkeypatch.setattr(loop.Member, "finish", finish_and_die)
    with pytest.raises(Killed):
        loop.train_together(configs, b)
    monkeypatch.undo()
    for workdir in b[1:]:  # as if they had been killed earlier
        shutil.rmtree(workdir / "checkpoints" / "8")
    before = {path: path.stat().st_mtime_ns for path in b[0].rglob("*") if path.is_file() and path.name != ".lock"}
    loop.train_together(configs, b)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    for i in range(3):
        assert_bit_equal(state_of(configs[i], a[i]), state_of(configs[i], b[i]))


def test_patience_ends_one_member_and_not_the_others(tmp_path, monkeypatch):
    configs = members(2, train__patience=1, train__eval_every=2)
    free = members(2, train__eval_every=2)
    for config in (configs[1], free[1]):
        config.optim.learning_rate = 1e-30  # never better than at its start
    a, b = ([tmp_path / f"{name}{i}" for i in range(2)] for name in "ab")
    results = loop.train_together(configs, a)
    loop.train_together(free, b)
    assert [(r["status"], r["stopped_early"], r["step"]) for r in results] == [
        ("finished", False, 8),
        ("finished", True, 4),
    ]
    assert "valid/loss" in results[1]["metrics"] and rundir.read_result(a[1]) == results[1]
    assert losses(a[0]) == losses(b[0])
    assert state_of(configs[1], a[1])[0].step == 4


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1, 2])
def test_killed_while_a_member_ends_early(tmp_path, monkeypatch, keep):
    """Its result is what an undisturbed one has, and the others keep their checkpoints."""
    configs = members(2, train__patience=1, train__eval_every=2, run__checkpoint_every=2, run__keep_checkpoints=keep)
    configs[1].optim.learning_rate = 1e-30
    a, b = ([tmp_path / f"{name}{i}" for i in range(2)] for name in "ab")
    whole = loop.train_together(configs, a)
    evaluate = runs.evaluate_tests

    def die(*args):
        raise Killed

    monkeypatch.setattr(runs, "evaluate_tests", die)
    with pytest.raises(Killed):
        loop.train_together(configs, b)
    monkeypatch.setattr(runs, "evaluate_tests", evaluate)
    begun = []
    monkeypatch.setattr(loop.Member, "restore", _noting(loop.Member.restore, begun))
    resumed = loop.train_together(configs, b)
    assert set(begun) == {2}  # the newest step that both had
    for i in range(2):
        assert resumed[i]["metrics"] == whole[i]["metrics"] and resumed[i]["step"] == whole[i]["step"]
        assert losses(a[i]) == losses(b[i])


def test_killed_alone_when_patience_had_run_out(tmp_path, monkeypatch):
    config = tiny(train__patience=1, train__eval_every=2, optim__learning_rate=1e-30)
    whole = loop.train(config, tmp_path / "a")
    finish = loop.Member.finish

    def die(*args):
        raise Killed

    monkeypatch.setattr(loop.Member, "finish", die)
    with pytest.raises(Killed):
        loop.train(config, tmp_path / "b")
    monkeypatch.setattr(loop.Member, "finish", finish)
    resumed = loop.train(config, tmp_path / "b")
    assert resumed["step"] == whole["step"] == 4 and resumed["stopped_early"]
    assert resumed["metrics"] == whole["metrics"]


def _noting(restore, begun):
    def noted(self, structs, step):
        begun.append(step)
        return restore(self, structs, step)

    return noted


def test_time_goes_forward_when_members_end_early(tmp_path):
    """Speed is that of all slots, and what an ended member's tests take is in nobody's time."""
    changes = {"train__patience": 1, "train__eval_every": 2, "run__log_every": 2}
    configs = members(3, train__steps=16, **changes)
    for config in configs[:2]:
        config.optim.learning_rate = 1e-30
    results = loop.train_together(configs, [tmp_path / str(i) for i in range(3)])
    assert [result["stopped_early"] for result in results] == [True, True, False]
    seconds = list(read_run(tmp_path / "2", "", 0).curve("seconds").values())
    assert seconds == sorted(seconds) and seconds[-1] > 0
    speeds = list(read_run(tmp_path / "2", "", 0).curve("train/tokens_per_second").values())
    assert len(speeds) >= 5 and min(speeds) > 0


def test_where_runs_were_is_read_from_those_that_have_begun(tmp_path, capsys):
    configs, workdirs = members(2), [tmp_path / "0", tmp_path / "1"]
    assert rundir.replicas_before(workdirs) is None
    loop.train_together(configs, workdirs)
    assert rundir.replicas_before(workdirs) == 1
    mesh, slots = loop.mesh_for(configs, jax.devices(), 4)
    assert (mesh.shape["replica"], slots) == (1, 2)
    assert "2 runs that began on 4 replicas go on with 1" in capsys.readouterr().out


def test_the_test_split_is_measured_once_at_the_end(tmp_path):
    configs = members(2, train__test_batches=-1)
    results = loop.train_together(configs, [tmp_path / "0", tmp_path / "1"])
    alone = loop.train(members(2, train__test_batches=2)[1], tmp_path / "alone")
    assert results[0]["metrics"]["test/loss"] != results[1]["metrics"]["test/loss"]
    assert alone["metrics"]["test/loss"] != results[1]["metrics"]["test/loss"]  # two batches of many
    assert "test/loss" not in loop.train(tiny(), tmp_path / "none")["metrics"]


def test_what_may_not_train_together(tmp_path):
    with pytest.raises(UserError, match="2 configs whose static part differs"):
        loop.train_together([tiny(), tiny(model__position="alibi")], [tmp_path / "a", tmp_path / "b"])
    assert list(tmp_path.iterdir()) == []
    keys = {static_key(tiny(**{key.replace(".", "__"): value})) for key, value in (("model.dropout", 0.1), ("seed", 1))}
    assert len(keys) == 2 and static_key(tiny()) in keys  # with dropout is another program than without


def test_runs_out_of_memory_while_compiling_are_halved(monkeypatch):
    tried = []
    monkeypatch.setattr(
        population, "step_bytes", lambda some: tried.append(len(some)) or (1 if len(some) < 5 else math.inf)
    )
    assert [len(each) for each in population.rounds(members(16), limit=10)] == [4, 4, 4, 4]
    assert tried == [16, 8, 4]


def test_memory_deals_out_rounds():
    configs = members(6)
    one, all_six = (population.step_bytes(configs[:count]) for count in (1, 6))
    assert 2 * one < all_six < 8 * one
    assert population.rounds(configs) == [[0, 1, 2, 3, 4, 5]]
    assert population.rounds(configs, limit=all_six - 1) == [[0, 1, 2], [3, 4, 5]]
    assert population.rounds(configs, limit=1) == [[i] for i in range(6)]
    assert population.host_bytes() > 2**20


@pytest.mark.slow
def test_eight_devices_carry_sixteen_runs_without_communication(tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    worker = Path(__file__).with_name("population_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(tmp_path)],
        env=environment | {"PYTHONPATH": str(worker.parent.parent)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["mesh"] == dict.fromkeys(AXES, 1) | {"replica": 8}
    assert told["collectives"] == [[], [], []] and "replica" in told["placed"]
    assert told["fsdp_mesh"] == dict.fromkeys(AXES, 1) | {"replica": 4, "fsdp": 2}
    assert told["fsdp_groups"] and all("{0,1},{2,3},{4,5},{6,7}" in g or "[4,2]<=[8]" in g for g in told["fsdp_groups"])
    configs = members(16)
    for i in (0, 5, 15):
        alone = loop.train(configs[i], tmp_path / f"alone{i}")["metrics"]["valid/loss"]
        assert told["losses"][i] == pytest.approx(alone, rel=1e-5)
    assert told["fsdp_losses"] == pytest.approx(told["losses"][:4], rel=1e-5)
