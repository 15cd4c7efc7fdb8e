"""How often something is compiled: all of it at the beginning of a run, and nothing again for another seed."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import pytest
from models import small_config

from transformer_jax import compilation, compilation_files
from transformer_jax import config as config_lib
from transformer_jax.errors import UserError
from transformer_jax.evaluate.answers import score
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.plan.compiled import batch_structs, hyper_structs
from transformer_jax.train.loop import compiled_program, train, train_together
from transformer_jax.train.training import Training

STEP = "jit(steps)"


def config_of(seed=0, **changes):
    """Twelve updates in dispatches of two, with four evaluations, logs and checkpoints each."""
    config = small_config()
    config.seed = seed
    config.train.steps, config.train.steps_per_dispatch = 12, 2
    config.train.eval_every = config.run.log_every = config.run.checkpoint_every = 3
    config.train.test_batches = 2
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


@pytest.fixture
def first_round(monkeypatch):
    """What had been compiled when the first evaluation and the first checkpoint were done."""
    done, at = set(), []
    counting = compilation.Counted()
    for name in ("_evaluate", "_save"):
        method = getattr(Training, name)

        def noted(self, *args, name=name, method=method):
            method(self, *args)
            if name not in done:
                done.add(name)
                at[:] = [list(counting.names)]

        monkeypatch.setattr(Training, name, noted)
    with compilation.counted() as found:
        counting.names = found.names
        yield lambda: at[0], found


def test_nothing_is_compiled_after_the_first_evaluation_and_checkpoint(tmp_path, first_round):
    """Nor for another seed, learning rate and weight decay: they are data."""
    before, found = first_round
    result = train(config_of(), tmp_path / "first")
    assert {"test/loss", "valid/loss"} <= set(result["metrics"])
    assert STEP in before() and "jit(evaluate)" in before()
    assert found.names == before()
    with compilation.counted() as again:
        train(config_of(seed=1, optim__learning_rate=1e-4, optim__weight_decay=0.3), tmp_path / "second")
    assert again.names == []


def test_updates_left_over_are_one_program_more(tmp_path, first_round):
    """Their number is part of its shape: 13 updates in dispatches of 2 need a train step for 1."""
    before, found = first_round
    train(config_of(train__steps=13), tmp_path)
    assert found.names == [*before(), STEP]


def test_answers_and_sets_of_other_lengths_are_compiled_once(tmp_path):
    """What is decoded has programs of its own, and so has each row length of `data.tests`."""
    changes = {
        "data__corpus": "copy(train=(1, 5), test=(6, 8), examples=200, held_out=20)",
        "data__view": "prompt_answer",
        "data__length": 24,
        "data__tests": "same: copy(test=(6, 8), held_out=20); longer: copy(test=(20, 24), held_out=20)",
        "train__answers": 4,
    }
    with compilation.counted() as found:
        result = train(config_of(**changes), tmp_path / "first", score=score)
    assert {"same/loss", "longer/loss"} <= set(result["metrics"])
    assert found.names.count(STEP) == 1
    assert found.names.count("jit(evaluate)") == 2
    with compilation.counted() as again:
        train(config_of(seed=1, **changes), tmp_path / "second", score=score)
    assert again.names == []


def test_a_population_of_eight_seeds_compiles_its_train_step_once(tmp_path, first_round):
    before, found = first_round
    few = {"train__steps": 4, "train__eval_every": 2, "run__checkpoint_every": 4, "run__tensorboard": False}
    train_together([config_of(seed, **few) for seed in range(8)], [tmp_path / f"a{seed}" for seed in range(8)])
    assert found.names == before()
    assert found.names.count(STEP) == found.names.count("jit(evaluate)") == found.names.count("jit(init)") == 1
    with compilation.counted() as again:
        train_together([config_of(seed, **few) for seed in range(8, 16)], [tmp_path / f"b{seed}" for seed in range(8)])
    assert again.names == []


@pytest.mark.parametrize("family", ["decoder_only", "encoder_decoder"])
def test_scanned_layers_are_one_program_whatever_their_number(family):
    """Its size decides how long the compiler takes; 48 layers in place of 6 change numbers in it, not lines."""
    few, many = (lowered(family=family, layers=layers, stack="scan") for layers in (6, 48))
    assert many.count("\n") == pytest.approx(few.count("\n"), rel=0.05)
    assert len(many) == pytest.approx(len(few), rel=0.05)
    two, twelve = (lowered(family=family, layers=layers, stack="unroll").count("\n") for layers in (2, 12))
    assert twelve > 1.3 * two  # what is counted here does see layers


def lowered(**model) -> str:
    """The text of a train step as it goes to the compiler."""
    config = small_config(**model)
    program = compiled_program(config, 60, make_mesh(config.mesh, jax.devices()[:1]))
    arguments = program.all_structs, batch_structs(config, program), hyper_structs(config, program)
    return program.lower_train(*arguments).as_text()


def test_programs_are_kept_for_the_next_process(tmp_path):
    """The second one compiles no program that took long, and says so; the losses are the same."""
    first, second = (start(tmp_path, f"run{i}") for i in range(2))
    assert "compiled before" not in first.stdout and "compiled before" in second.stdout
    losses = [[line for line in run.stdout.splitlines() if line.startswith("valid/")] for run in (first, second)]
    assert losses[0] == losses[1] != []
    (directory,) = (tmp_path / "caches" / "transformer_jax" / "compiled").iterdir()
    assert [path.name for path in directory.glob("jit_steps-*")]
    assert directory.stat().st_mode & 0o777 == 0o700


def start(tmp_path: Path, name: str) -> subprocess.CompletedProcess:
    """`train` in a process of its own, with a cache of its own."""
    own = {
        "XDG_CACHE_HOME": str(tmp_path / "caches"),
        compilation.SWITCH: "on",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }
    config = tmp_path / "config.py"
    told = config_lib.to_dict(config_of(train__steps=4))
    text = f"from transformer_jax import config\n\n\ndef get_config(mode=''):\n    return config.from_dict({told!r})\n"
    config.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "transformer_jax", "train", f"--config={config}", f"--workdir={tmp_path / name}"],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def wanted(monkeypatch, tmp_path):
    """A process in which programs would be kept below `tmp_path`; as before afterwards."""
    monkeypatch.setenv(compilation.SWITCH, "on")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "transformer_jax" / "compiled"
    compilation._use(before)


def test_what_others_may_write_to_is_not_used(wanted, capsys):
    directory = compilation.keep()
    assert directory.parent == wanted and jax.config.jax_compilation_cache_dir == str(directory)
    compilation._use(None)
    for place, mode in ((directory, 0o770), (directory, 0o1777), (wanted, 0o707)):
        before = place.stat().st_mode & 0o7777
        place.chmod(mode)
        with compilation.kept() as used:
            assert used is None and jax.config.jax_compilation_cache_dir is None
        assert f"others may write to {place}" in capsys.readouterr().err
        place.chmod(before)
    with compilation.kept() as used:
        assert used == directory
    assert jax.config.jax_compilation_cache_dir is None


def test_nor_is_a_directory_that_the_user_named(wanted, tmp_path, capsys):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    jax.config.update("jax_compilation_cache_dir", str(shared))
    assert compilation.keep() is None and jax.config.jax_compilation_cache_dir is None
    assert "JAX_COMPILATION_CACHE_DIR" in capsys.readouterr().err
    shared.chmod(0o755)
    jax.config.update("jax_compilation_cache_dir", str(shared))
    assert compilation.keep() == shared


def test_nor_is_one_with_files_of_somebody_else(wanted, capsys, monkeypatch):
    directory = compilation.keep()
    compilation._use(None)
    (directory / "jit_steps-0-cache").write_bytes(b"")
    if os.geteuid() == 0:
        os.chown(directory / "jit_steps-0-cache", 12345, 12345)
    else:  # who must not give files away looks as somebody else
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert compilation.keep() is None
    assert "belongs to somebody else" in capsys.readouterr().err


def test_a_directory_that_cannot_be_made_costs_a_warning(wanted, capsys):
    wanted.parent.mkdir()
    wanted.write_text("a file")
    assert compilation.keep() is None
    assert capsys.readouterr().err.startswith("warning: compiled programs are not kept: ")


def test_the_switch_is_on_or_off(wanted, monkeypatch):
    monkeypatch.setenv(compilation.SWITCH, "off")
    assert compilation.keep() is None and not wanted.exists()
    monkeypatch.setenv(compilation.SWITCH, "maybe")
    with pytest.raises(UserError, match="'maybe': give 'on' or 'off'"):
        compilation.keep()


def test_torn_and_old_programs_go(tmp_path):
    content = os.urandom(1000)
    for age, (name, written) in enumerate(
        {
            "whole": zlib.compress(content),
            "torn": zlib.compress(content)[:-8],
            "empty": b"",
            "foreign": b"(" + content,
            "oldest": zlib.compress(content),
        }.items()
    ):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(written)
        os.utime(path, (1e9 - 10 * age, 1e9 - 10 * age))
    (tmp_path / "fresh-cache").write_bytes(b"")  # somebody writes it just now
    compilation_files.tidy(tmp_path, limit=2500)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"whole-cache", "foreign-cache", "fresh-cache"}
    with compilation_files.locked(tmp_path / ".lock", ""):
        compilation_files.tidy(tmp_path, limit=0)  # another process is at it
    assert (tmp_path / "whole-cache").exists()
