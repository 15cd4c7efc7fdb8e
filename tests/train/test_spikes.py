"""Spikes: kept, skipped inside of the compiled step, or gone back from."""

import json

import jax
import numpy as np
import pytest
from models import hyper_of

from tests.faults.planted import Planted, WithoutThem
from transformer_jax import config as config_lib
from transformer_jax.data import Data
from transformer_jax.errors import UserError
from transformer_jax.objective import Loss
from transformer_jax.study.store import read_run
from transformer_jax.train import loop
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluation import place
from transformer_jax.train.rewind import Watch
from transformer_jax.train.spikes import spikes
from transformer_jax.train.step import StepMetrics
from transformer_jax.validate import validate

RATE = 4e-2  # at which the loss falls fast enough for ruined targets to stand out
TASK = "copy(train=(1, 5), test=(6, 8), examples=300, held_out=30)"


def tiny(**changes):
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view, config.data.length = TASK, "prompt_answer", 32
    config.model.layers, config.run.tensorboard = 1, False
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def state_of(config, workdir):
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh))
    state, rest = Checkpoints(workdir / "checkpoints", 5).restore(program.state_structs)
    return jax.tree.map(np.asarray, state), rest


def assert_bit_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture
def plant(monkeypatch):
    """plant(3, 4): the third and fourth training batches are bad."""
    original = Data.train_iterator

    def planted(*bad):
        monkeypatch.setattr(Data, "train_iterator", lambda self, *args: Planted(original(self, *args), bad))

    return planted


def test_arguments_out_of_range_are_told_before_anything_compiles():
    for spec, message in [
        ("skip(above=1)", r"train.spikes='skip\(above=1\)': above=1.0: give a number above 1"),
        ("skip(over=0)", "over=0"),
        ("rewind(most=0)", "most=0"),
        ("skip(of='perplexity')", "gradient"),
        ("skipp", r"did you mean 'skip'"),
    ]:
        with pytest.raises(UserError, match=message):
            validate(tiny(train__spikes=spec))
    configs = [tiny(seed=seed, train__spikes="rewind") for seed in range(2)]
    with pytest.raises(UserError, match="one cannot go back while the others go on"):
        loop.train_together(configs, ["/nonexistent/a", "/nonexistent/b"])


def test_a_run_that_keeps_its_spikes_has_the_state_that_it_always_had():
    program, judged = (
        loop.compiled_program(tiny(train__spikes=spec), 259, loop.make_mesh(tiny().mesh)) for spec in ("keep", "skip")
    )
    assert len(jax.tree.leaves(judged.state_structs)) == len(jax.tree.leaves(program.state_structs)) + 3
    assert "spikes" not in {field.name for field in program.state_structs.__dataclass_fields__.values()}


@pytest.mark.parametrize("of", ["gradient", "loss"])
def test_a_skipped_spike_leaves_the_state_of_a_run_that_never_saw_it(of):
    """Good batches, a bad one, good ones: as the good ones alone, but for the counters of tries and spikes."""
    config = tiny(train__spikes=f"skip(above=1.1, over=2, of={of!r})", optim__ema=0.9, optim__learning_rate=RATE)
    program = loop.compiled_program(config, 259, loop.make_mesh(config.mesh))
    hyper = hyper_of(program, config)
    good = list(loop.data_lib.load(config.data, 0).eval_batches("train", 8))
    bad = good[0].replace(targets_BL=np.full_like(good[0].targets_BL, 250))

    def trained(batches):
        state = program.init(hyper)
        stacked = jax.tree.map(lambda *xs: np.stack(xs), *batches)
        state, metrics = program.train(state, place(program, stacked, leading=1), hyper)
        return jax.tree.map(np.asarray, state), np.asarray(metrics.applied)

    without, applied = trained(good)
    assert applied.all()
    with_spike, applied = trained([*good[:6], bad, *good[6:]])
    assert applied.tolist() == [True] * 6 + [False, True, True]
    assert (with_spike.step, with_spike.skipped, with_spike.spikes.skipped) == (9, 0, 1)
    level = with_spike.replace(step=without.step, spikes=with_spike.spikes.replace(skipped=without.spikes.skipped))
    assert_bit_equal(level, without)


def test_skipped_spikes_are_counted_apart_and_shown(tmp_path, plant, capsys):
    plant(7)
    config = tiny(train__spikes="skip(above=1.1, over=3, of='loss')", optim__learning_rate=RATE)
    result = loop.train(config, tmp_path)
    assert (result["spikes"], result["skipped"], result["rewinds"]) == (1, 0, [])
    assert read_run(tmp_path, "", 0).curve("train/spikes") == {2: 0, 4: 0, 6: 0, 8: 1}
    assert "1 spikes skipped" in capsys.readouterr().err


def test_members_of_a_population_skip_their_own_spikes(tmp_path, plant):
    plant(7)
    specs = dict(train__spikes="skip(above=1.1, over=3, of='loss')")
    configs = [tiny(seed=seed, optim__learning_rate=rate, **specs) for seed, rate in [(0, RATE), (1, RATE)]]
    together = loop.train_together(configs, [tmp_path / "0", tmp_path / "1"])
    alone = loop.train(configs[1], tmp_path / "alone")
    assert [result["spikes"] for result in together] == [1, 1] and alone["spikes"] == 1
    for key, value in alone["metrics"].items():
        assert together[1]["metrics"][key] == pytest.approx(value, rel=1e-4), key


def test_too_many_spikes_end_a_run(tmp_path, plant, capsys):
    plant(*range(7, 17))
    spec = "skip(above=1.1, over=3, of='loss', most=2)"
    config = tiny(train__spikes=spec, optim__learning_rate=RATE, train__steps=16)
    result = loop.train(config, tmp_path)
    assert result["status"] == "diverged" and result["spikes"] > 2
    assert "were spikes and left out (train.spikes=" in capsys.readouterr().out


REWINDS = dict(
    train__spikes="rewind(above=1.1, over=3, of='loss')",
    optim__learning_rate=RATE,
    train__steps=16,
    train__eval_every=8,
    run__checkpoint_every=4,
    model__dropout=0.1,
)


def test_a_run_goes_back_from_a_spike_and_past_its_batches(tmp_path, plant, capsys):
    plant(7, 8)
    config = tiny(**REWINDS)
    result = loop.train(config, tmp_path / "a")
    (told,) = result["rewinds"]
    assert (told["spike"], told["noticed"], told["back_to"], told["skipped"]) == (7, 8, 4, 4)
    assert told["value"] > 1.1 * told["average"] > 0
    assert result["status"] == "finished" and result["step"] == 16 and result["spikes"] == 0
    assert json.loads((tmp_path / "a/manifest.json").read_text())["rewinds"] == [told]
    assert "spike at step 7: " in capsys.readouterr().out
    assert read_run(tmp_path / "a", "", 0).curve("train/rewound_to") == {8: 4}
    state, rest = state_of(config, tmp_path / "a")
    assert rest["drawn"] == 20 and state.step == 16
    assert read_run(tmp_path / "a", "", 0).curve("train/loss")[8] < told["average"]  # of the updates in their place


def test_what_comes_after_a_rewind_is_a_run_that_was_fed_other_batches(tmp_path, plant, monkeypatch):
    """Bit for bit the run whose batches 5 to 8 are left out."""
    plant(7)
    config = tiny(**REWINDS)
    loop.train(config, tmp_path / "back")
    monkeypatch.undo()
    original = Data.train_iterator
    monkeypatch.setattr(Data, "train_iterator", lambda self, *args: WithoutThem(original(self, *args), {5, 6, 7, 8}))
    loop.train(config, tmp_path / "short")
    one, other = (state_of(config, tmp_path / name) for name in ("back", "short"))
    assert_bit_equal(one[0], other[0])
    losses = [read_run(tmp_path / name, "", 0).curve("train/loss") for name in ("back", "short")]
    assert losses[0] == losses[1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["save", "restore", "after", "stop"])
def test_a_killed_run_comes_to_the_same_rewinds(tmp_path, plant, monkeypatch, where):
    plant(7, 11)
    config = tiny(**REWINDS)
    whole = loop.train(config, tmp_path / "whole")
    assert len(whole["rewinds"]) == 2
    original, count = Checkpoints.save, []

    def save(self, step, *args):
        original(self, step, *args)
        count.append(step)
        if where == "save" and step == 4:
            raise Killed

    def go_back(self, *args):
        if where == "restore":
            raise Killed
        told = back(self, *args)
        if where == "after":
            raise Killed
        return told

    back = loop.Member.go_back
    with monkeypatch.context() as patch, pytest.raises((Killed, KeyboardInterrupt)):
        patch.setattr(Checkpoints, "save", save)
        patch.setattr(loop.Member, "go_back", go_back)
        if where == "stop":  # between the spike and the place where it is noticed
            reached = loop.Stop.reached
            patch.setattr(loop.Stop, "reached", lambda self: len(count) == 2 or reached(self))
            patch.setattr(loop.Stop, "interrupted", lambda self, told: KeyboardInterrupt(told))
            config.run.log_every = 4
        loop.train(config, tmp_path / "halves")
    config.run.log_every = 2
    halves = loop.train(config, tmp_path / "halves")
    if where != "stop":  # noticed elsewhere
        assert halves["rewinds"] == whole["rewinds"]
        assert halves["metrics"] == whole["metrics"]
        assert_bit_equal(*(state_of(config, tmp_path / name)[0] for name in ("whole", "halves")))
    assert halves["status"] == "finished"


def test_too_many_rewinds_end_a_run(tmp_path, plant, capsys):
    plant(*range(7, 100))
    result = loop.train(tiny(**REWINDS | dict(train__spikes="rewind(above=1.1, over=3, of='loss', most=2)")), tmp_path)
    assert result["status"] == "diverged" and len(result["rewinds"]) == 3
    assert "it went back from 3 spikes" in capsys.readouterr().out


def test_a_watch_looks_at_every_update_once_and_not_at_those_that_were_not_applied():
    def fetched(*norms):
        array = np.asarray(norms, np.float32)
        loss = Loss(*[np.ones_like(array)] * 5)
        return StepMetrics(loss, array, np.isfinite(array), {})

    watch = Watch(spikes.build("rewind(above=3, over=2)"))
    first, second = fetched(1.0, np.nan), fetched(1.0, 2.0)
    assert watch.look([first], 2) is None
    assert watch.look([first, second], 4) is None  # the first two are not counted again
    kept = watch.state()
    third = fetched(2.0, 90.0)
    found = watch.look([first, second, third], 6)
    assert (found["spike"], found["value"], found["noticed"]) == (6, 90.0, 6)
    again = Watch(spikes.build("rewind(above=3, over=2)"))
    again.resume(kept, 4)
    assert again.look([third], 6) == found
