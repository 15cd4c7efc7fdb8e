"""Runs: resume is bit-equal, bad updates are not applied, a workdir is never mistaken for another's."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from models import hyper_of

from transformer_jax import config as config_lib
from transformer_jax.errors import UserError
from transformer_jax.files import locked
from transformer_jax.study.store import read_run
from transformer_jax.train import loop, rundir, runs
from transformer_jax.train.checkpoint import Checkpoints, restore_newest
from transformer_jax.train.evaluation import evaluate_loss, place
from transformer_jax.train.metrics import Metrics

TASK = "copy(train=(1, 5), test=(6, 8), examples=300, held_out=30)"


def tiny(**changes):
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view, config.data.length = TASK, "prompt_answer", 32
    config.run.tensorboard = False
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def final_state(config, workdir):
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh))
    checkpoints = Checkpoints(workdir / "checkpoints", 5)
    state, rest = checkpoints.restore(program.state_structs)
    checkpoints.close()
    return jax.tree.map(np.asarray, state), rest["data"]


def curve(workdir, key):
    return read_run(workdir, "", 0).curve(key)


def assert_bit_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_leaves_everything_behind(tmp_path):
    config = tiny(run__tensorboard=True)
    result = loop.train(config, tmp_path / "run")
    assert result["status"] == "finished" and result["step"] == 8 and result["skipped"] == 0
    assert {"valid/loss", "valid/bits_per_byte", "valid/accuracy"} <= result["metrics"].keys()
    assert result["parameters"] > 10_000 and result["tokens_per_second"] > 0
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["fingerprint"] == config_lib.fingerprint(config)
    assert len(manifest["data"]["corpus_sha256"]) == 64
    assert list((tmp_path / "run/tensorboard").iterdir())
    assert list(curve(tmp_path / "run", "valid/loss")) == [4, 8]
    assert list(curve(tmp_path / "run", "train/loss")) == [2, 4, 6, 8]
    # Asked for again, a finished run is not run again.
    before = (tmp_path / "run/metrics.jsonl").read_text()
    assert loop.train(config, tmp_path / "run") == result
    assert (tmp_path / "run/metrics.jsonl").read_text() == before


@pytest.mark.parametrize("options", [{}, {"optim__ema": 0.9, "model__dropout": 0.1, "optim__accumulate": 2}], ids=str)
def test_stopped_and_resumed_is_bit_equal_to_uninterrupted(tmp_path, monkeypatch, options):
    config = tiny(**options)
    whole = loop.train(config, tmp_path / "whole")

    class Killed(BaseException):
        pass

    save = Checkpoints.save

    def save_and_die(self, step, *args):
        save(self, step, *args)
        if step == 4:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    with pytest.raises(Killed):
        loop.train(config, tmp_path / "halves")
    monkeypatch.undo()
    assert rundir.read_result(tmp_path / "halves") is None
    halves = loop.train(config, tmp_path / "halves")
    assert halves["metrics"] == whole["metrics"]
    assert_bit_equal(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "halves"))
    losses = [curve(tmp_path / name, "train/loss") for name in ("whole", "halves")]
    assert losses[0] == losses[1]


def test_killed_by_the_system_resumes_and_sigterm_saves(tmp_path):
    """A process of its own, once killed -9 in mid-run, once asked to stop, then run to its end."""
    config = tiny(train__steps=600, train__eval_every=600, run__checkpoint_every=20, run__log_every=20)
    (tmp_path / "c.py").write_text(
        "import json\nfrom transformer_jax import config\n"
        f"def get_config(mode): return config.from_dict(json.loads({json.dumps(config_lib.to_dict(config))!r}))\n"
    )
    command = [sys.executable, "-m", "transformer_jax", "train", f"--config={tmp_path}/c.py", f"--workdir={tmp_path}/r"]
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75)):
        newest = _newest(tmp_path / "r/checkpoints")
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        deadline = time.monotonic() + 120
        while _newest(tmp_path / "r/checkpoints") <= newest and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
        assert process.returncode == code, told
    assert "the same command resumes" in told and "Traceback" not in told
    resumed = loop.train(config, tmp_path / "r")
    whole = loop.train(config, tmp_path / "whole")
    assert resumed["metrics"] == whole["metrics"]
    assert_bit_equal(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "r"))


def _newest(directory: Path) -> int:
    manifests = directory.glob("*.sha256.json") if directory.is_dir() else ()
    return max((int(path.name.partition(".")[0]) for path in manifests), default=0)


def test_a_flipped_byte_is_found_and_the_step_before_is_taken(tmp_path, capsys):
    config = tiny(run__keep_checkpoints=5)
    result = loop.train(config, tmp_path)
    (tmp_path / "result.json").unlink()
    newest = max((tmp_path / "checkpoints/8").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else -1)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert loop.train(config, tmp_path)["metrics"] == result["metrics"]
    assert "checkpoint 8 does not verify" in capsys.readouterr().out
    assert (tmp_path / "checkpoints/8.corrupt").is_dir() and (tmp_path / "checkpoints/8").is_dir()


def test_reading_a_run_changes_nothing_in_it(tmp_path):
    """A step whose manifest is not there yet may be one that a live run is writing."""
    config = tiny()
    loop.train(config, tmp_path)
    (tmp_path / "checkpoints/8.sha256.json").unlink()
    (tmp_path / "checkpoints/12.orbax-checkpoint-tmp").mkdir()
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh))
    _, step = restore_newest(tmp_path / "checkpoints", program.state_structs)
    assert step == 4
    assert before == sorted(str(p) for p in tmp_path.rglob("*"))


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    loop.train(tiny(run__keep_checkpoints=1, run__checkpoint_every=2), tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["8", "8.sha256.json"]


def test_a_workdir_of_another_config_is_refused_and_left_as_it_is(tmp_path):
    loop.train(tiny(), tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=r"another config(.|\n)*optim.learning_rate: 0.002 -> 0.01"):
        loop.train(tiny(optim__learning_rate=0.01), tmp_path)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    loop.train(tiny(run__log_every=1), tmp_path)  # what changes neither training nor measurement is no other config


def test_non_finite_updates_are_not_applied_and_end_the_run_past_a_limit(tmp_path, capsys):
    # An infinite learning rate leaves the first parameters non-finite, so every later gradient is.
    config = tiny(optim__learning_rate=1e38, train__max_skipped=3, optim__clip=0.0)
    result = loop.train(config, tmp_path)
    assert result["status"] == "diverged" and result["metrics"] == {}
    assert result["skipped"] > 3 and result["step"] <= 8
    assert "train.max_skipped=3" in capsys.readouterr().out


def test_a_run_that_ends_without_a_finite_loss_has_diverged(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "evaluate_members", lambda *_: [{"loss": float("nan"), "accuracy": 0.0}])
    result = loop.train(tiny(), tmp_path)
    assert result["status"] == "diverged" and result["metrics"] == {}


def test_resume_refuses_data_that_has_changed(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("one two three four five six seven " * 200)
    config = tiny(data__corpus=f"text(path='{book}')", data__view="text", data__tokenizer="word(vocab=20)")
    loop.train(config, tmp_path / "run")
    (tmp_path / "run/result.json").unlink()
    before = (tmp_path / "run/tokenizer.json").read_text()
    book.write_text("uno dos tres cuatro cinco seis siete " * 200)
    with pytest.raises(UserError, match="has changed since it was begun"):
        loop.train(config, tmp_path / "run")
    assert (tmp_path / "run/tokenizer.json").read_text() == before


def test_one_process_trains_in_a_workdir(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    with locked(tmp_path / ".lock", "held"), pytest.raises(UserError, match="another process is training"):
        loop.train(tiny(), tmp_path)


def test_a_key_that_has_come_since_does_not_end_old_runs(tmp_path):
    loop.train(tiny(), tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    del saved["model"]["vocab_multiple"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert loop.train(tiny(), tmp_path)["status"] == "finished"


def test_logs_of_a_resumed_run_are_those_of_an_uninterrupted_one(tmp_path, monkeypatch):
    """A checkpoint between two lines of the log carries what was not logged yet."""
    config = tiny(run__log_every=8, run__checkpoint_every=4)
    loop.train(config, tmp_path / "whole")
    save = Checkpoints.save

    def save_and_die(self, step, *args):
        save(self, step, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, tmp_path / "halves")
    monkeypatch.undo()
    loop.train(config, tmp_path / "halves")
    assert curve(tmp_path / "whole", "train/loss") == curve(tmp_path / "halves", "train/loss")


def test_evaluation_in_micro_batches_is_the_same(tmp_path):
    data = loop.data_lib.load(tiny().data, 0)
    losses = []
    for parts in (1, 4):
        config = tiny(optim__accumulate=parts)
        program = loop.compiled_program(config, data.vocab_size, loop.make_mesh(config.mesh))
        params = program.init(hyper_of(program, config)).params
        losses.append(evaluate_loss(program, params, data.eval_batches("valid"))["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_one_bad_batch_changes_nothing_but_the_counters():
    config = tiny()
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh))
    hyper = hyper_of(program, config)
    state = program.init(hyper)
    before = jax.tree.map(np.asarray, state)
    data = loop.data_lib.load(config.data, 0)
    batch = next(iter(data.eval_batches("valid", 1)))
    bad = batch.replace(weights_BL=batch.weights_BL * np.nan)
    stacked = jax.tree.map(lambda x: x[None], bad)
    state, metrics = program.train(state, place(program, stacked, leading=1), hyper)
    after = jax.tree.map(np.asarray, state)
    assert (after.step, after.skipped) == (1, 1) and not metrics.applied[0]
    assert_bit_equal(after.replace(step=before.step, skipped=before.skipped), before)


def test_accumulation_equals_the_whole_batch(tmp_path):
    """Rows have unequal numbers of targets, so a mean of means would differ."""
    programs = [
        loop.compiled_program(tiny(optim__accumulate=n, data__packed=False), 259, loop.make_mesh(tiny().mesh))
        for n in (1, 4)
    ]
    data = loop.data_lib.load(tiny(data__packed=False).data, 0)
    batch = next(iter(data.eval_batches("train", 1)))
    assert len(set(batch.weights_BL.sum(-1))) > 1
    hyper = hyper_of(programs[0], tiny())
    params = programs[0].init(hyper).params
    grads = [jax.jit(p.step.gradients)(params, batch, jax.random.key(1), hyper)[2] for p in programs]
    # The same sum over targets in another order, in float32.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-4), *grads)


def test_seeds_share_one_compiled_program():
    one, other = (loop.compiled_program(tiny(seed=s), 259, loop.make_mesh(tiny().mesh)) for s in (0, 1))
    assert one is other
    assert loop.compiled_program(tiny(model__position="alibi"), 259, loop.make_mesh(tiny().mesh)) is not one


def test_weights_that_are_decayed_are_matrices():
    program = loop.compiled_program(tiny(model__bias=True, model__position="learned"), 259, loop.make_mesh(tiny().mesh))
    from transformer_jax.train.optim import decay_mask

    flat = jax.tree_util.tree_leaves_with_path(decay_mask(program.boxed_params))
    decayed = {path[-1].key for path, decays in flat if decays}
    spared = {path[-1].key for path, decays in flat if not decays}
    assert decayed == {"table", "query", "key", "value", "out", "in"}
    assert spared == {"scale", "shift", "query_bias", "key_bias", "value_bias", "out_bias", "in_bias"}


def test_a_torn_line_takes_no_other_with_it(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 5.0}\n{"step": 2, "tra')
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.write(2, {"train/loss": 4.0})
    metrics.close()
    assert curve(tmp_path, "train/loss") == {1: 5.0, 2: 4.0}
