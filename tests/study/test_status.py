import json
import subprocess

import pytest
from study.fake_worker import command, noted
from study.study_fakes import FakeTrainer, accept, study
from study.test_launch import declared, until

from transformer_jax.errors import UserError
from transformer_jax.study import run_study
from transformer_jax.study.status import status


def run(directory, members=1, **broken):
    trainer = FakeTrainer(broken={tuple(map(int, k[1:].split("_"))): v for k, v in broken.items()})
    return run_study(
        study(),
        directory,
        trainer=trainer,
        validator=accept,
        tell=str,
        members=members,
        command="python -m transformer_jax study run X.py",
    )


def counts(found):
    return {k: v for k, v in found.as_json()["counts"].items() if v}


def test_a_directory_without_a_study_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no study"):
        status(tmp_path)


def test_done_diverged_and_failed(tmp_path):
    run(tmp_path, _1_0="diverged", _2_1=RuntimeError("out of memory"))
    found = status(tmp_path)
    assert counts(found) == {"done": 8, "failed": 1} and found.seconds_left is None
    told = str(found)
    assert "fake: 9 runs: 8 done (1 diverged), 0 running, 1 failed, 0 waiting" in told
    assert "failed   heads=2, seed 1: RuntimeError: out of memory" in told and "heads-2-s1-" in told
    assert (
        "nothing is running now; this goes on with what is not done: python -m transformer_jax study run X.py" in told
    )
    assert "with --launcher=here" in told
    json.dumps(found.as_json())
    run(tmp_path)
    assert counts(status(tmp_path)) == {"done": 9} and "nothing is running" not in str(status(tmp_path))


def test_interrupted_runs_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, _2_0=KeyboardInterrupt())
    assert counts(status(tmp_path)) == {"done": 2, "waiting": 7}


@pytest.mark.parametrize("members", [1, None])
def test_what_runs_now_and_how_long_it_takes(tmp_path, members):
    declared(tmp_path, members=members)
    worker = subprocess.Popen(command(tmp_path, 1.0), stdout=subprocess.DEVNULL)
    log = tmp_path / "calls.log"
    until(lambda: len(noted(log, "begin")) == 5)
    found = status(tmp_path)
    worker.kill()
    worker.wait()
    running = [run for run in found.runs if run.state == "running"]
    assert counts(found) == {"done": 4, "running": len(running), "waiting": 5 - len(running)}
    assert len(running) == (1 if members else 2)
    assert (running[0].step, running[0].steps) == (50, 200)
    together = 1 if members else 3
    assert running[0].seconds_left == pytest.approx(0.25 / 50 * 150 * together)
    if members:  # four more wait, at the second or so that each took
        assert 3.5 < found.seconds_left < 8
    name = f"{running[0].label}, seed {running[0].seed}"
    assert f"running  {name}: step 50/200, {0.75 * together:.0f} s left" in str(found)
    assert counts(status(tmp_path)) == {"done": 4, "waiting": 5}  # the lock went with the process


def test_a_study_without_a_plan_is_read(tmp_path):
    run(tmp_path, _2_1=RuntimeError("out of memory"))
    (tmp_path / "units.json").unlink()
    assert counts(status(tmp_path)) == {"done": 8, "failed": 1}
