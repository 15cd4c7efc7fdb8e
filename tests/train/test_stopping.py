"""A run that is stopped anywhere goes on to what an uninterrupted one comes to."""

import json
import os
import signal

import pytest
from parallel.process_worker import tiny

from transformer_jax.study.store import read_run
from transformer_jax.train import loop, rundir, runs
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.stopping import Interrupted

TEST = "copy(test=(6, 8), examples=30, held_out=10)"


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def curves(workdir):
    run = read_run(workdir, "", 0)
    return {key: run.curve(key) for key in ("train/loss", "valid/loss", "valid/accuracy", "copy/loss")}


def stopped(config, workdir) -> str:
    with pytest.raises(Interrupted) as raised:
        loop.train(config, workdir)
    assert raised.value.code == 75
    return str(raised.value)


@pytest.mark.parametrize("when", ["evaluating", "evaluating at the end", "testing", "saving"])
def test_a_run_stopped_in_the_middle_goes_on(tmp_path, monkeypatch, when):
    config = tiny({"data.tests": f"copy: {TEST}", "train.patience": 50})
    whole = loop.train(config, tmp_path / "whole")
    found = {"evaluating": runs.evaluate_members, "testing": runs.evaluate_tests, "saving": Checkpoints.save}
    kind, calls = when.partition(" ")[0], []

    def interrupted(*args, **more):
        calls.append(1)
        if len(calls) == (2 if when.endswith("end") else 1):
            stop()
        return found[kind](*args, **more)

    places = {
        "evaluating": (runs, "evaluate_members"),
        "testing": (runs, "evaluate_tests"),
        "saving": (Checkpoints, "save"),
    }
    monkeypatch.setattr(*places[kind], interrupted)
    told = stopped(config, tmp_path / "run")
    monkeypatch.undo()
    step = {"evaluating": 4, "saving": 6}.get(when, 8)
    assert told == f"stopped at step {step}; the same command resumes"
    assert rundir.read_result(tmp_path / "run") is None and (tmp_path / f"run/checkpoints/{step}").is_dir()
    again = loop.train(config, tmp_path / "run")
    assert again["metrics"] == whole["metrics"] and again["counted"] == whole["counted"]
    assert curves(tmp_path / "run") == curves(tmp_path / "whole")


def test_stopped_while_it_prepares_it_leaves_no_checkpoint(tmp_path, monkeypatch):
    claim = rundir.claim
    monkeypatch.setattr(rundir, "claim", lambda *args: (claim(*args), stop()))
    assert "preparing: nothing had to be saved" in stopped(tiny({}), tmp_path / "run")
    monkeypatch.undo()
    assert not (tmp_path / "run/checkpoints").exists()
    assert loop.train(tiny({}), tmp_path / "run")["status"] == "finished"


def test_the_manifest_says_how_many_processes_there_were(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"process_count": 2}))

    def recorded(step, processes):
        told = json.loads((tmp_path / "manifest.json").read_text()) | {"process_count": processes}
        (tmp_path / "manifest.json").write_text(json.dumps(told))
        rundir.record_processes(tmp_path, step)
        return [
            (each["step"], each["process_count"]) for each in rundir._read_json(tmp_path / "manifest.json")["processes"]
        ]

    assert recorded(0, 2) == [(0, 2)] == recorded(10, 2)
    assert recorded(20, 4) == [(0, 2), (20, 4)]
    assert recorded(20, 1) == [(0, 2), (20, 1)]
    assert recorded(15, 2) == [(0, 2)]  # what came after step 15 was lost
