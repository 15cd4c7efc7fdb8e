"""`data.tests` at the end of a run, and exact match, which is that of greedy decoding."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import hyper_of, moved, small_batch

from transformer_jax import config as config_lib
from transformer_jax.data import load
from transformer_jax.data.tokenizers.base import tokenizers
from transformer_jax.data.views.base import views
from transformer_jax.decode.generate import generate
from transformer_jax.decode.generator import Generator
from transformer_jax.decode.sampling import Sampling
from transformer_jax.errors import UserError
from transformer_jax.study.store import read_run
from transformer_jax.train import loop
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluation import evaluate_loss, position_limit

TASK = "copy(train=(1, 5), test=(6, 8), examples=300, held_out=30)"
TESTS = "2x: copy(test=(6, 10), examples=1, held_out=21); 4x: copy(test=(11, 20), examples=1, held_out=21)"


def tiny(**changes):
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view, config.data.tests = TASK, "prompt_answer", TESTS
    config.data.length = config.data.source_length = 32
    config.run.tensorboard = False
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def program_of(config):
    return loop.compiled_program(config, 259, loop.make_mesh(config.mesh))


def test_tests_are_evaluated_once_at_the_end_and_a_resumed_run_has_the_same(tmp_path, monkeypatch):
    result = loop.train(tiny(), tmp_path / "whole")
    metrics = result["metrics"]
    for name in ("loss", "accuracy", "perplexity", "bits_per_byte", "exact_match"):
        for split in ("valid", "2x", "4x"):
            assert np.isfinite(metrics[f"{split}/{name}"])
    assert result["not_applicable"] == {}
    run = read_run(tmp_path / "whole", "", 0)
    assert run.curve("4x/loss") == {8: metrics["4x/loss"]} and list(run.curve("valid/exact_match")) == [4, 8]
    report = json.loads((tmp_path / "whole/manifest.json").read_text())["data_report"]["tests"]
    assert {name: (each["examples"], each["length"]) for name, each in report.items()} == {
        "2x": (21, 24),
        "4x": (21, 48),
    }

    save = Checkpoints.save

    def save_and_die(self, step, *args):
        save(self, step, *args)
        if step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        loop.train(tiny(), tmp_path / "halves")
    monkeypatch.undo()
    assert loop.train(tiny(), tmp_path / "halves")["metrics"] == metrics


def test_beyond_the_last_position_nothing_is_computed_and_the_reason_is_kept(tmp_path, capsys):
    result = loop.train(tiny(model__position="learned", run__tensorboard=True), tmp_path)
    reason = "model.position='learned' is undefined from position 32 on, and 4x needs 41"
    assert result["status"] == "finished" and result["not_applicable"] == {"4x": reason}
    absent = {name for name, value in result["metrics"].items() if value is None}
    assert absent == {f"4x/{name.partition('/')[2]}" for name in result["metrics"] if name.startswith("valid/")}
    assert capsys.readouterr().out.count(f"4x is not applicable: {reason}") == 1
    run = read_run(tmp_path, "", 0)
    assert run.value("4x/exact_match") is None and run.not_applicable("4x/exact_match") == reason
    assert run.not_applicable("2x/loss") == "" and run.curve("4x/loss") == {}


@pytest.mark.parametrize(
    ("spec", "longest", "told"),
    [("rope", 10**6, False), ("learned", 32, False), ("learned", 33, True), ("learned(length=50)", 51, True)],
)
def test_the_limit_of_a_scheme(spec, longest, told):
    arch = program_of(tiny(model__position=spec)).arch
    reason = position_limit(arch, longest)
    assert bool(reason) == told and (not told or f"model.position={spec!r} is undefined from position" in reason)
    if told:  # by the generator too, before it computes anything
        generator = Generator(arch, None, tokenizers.build("byte"), views.build("prompt_answer"))
        with pytest.raises(UserError, match=f"from position {longest - 1} on, and {longest} are asked for: shorten"):
            generator.complete(["abc", "a" * (longest - 4)], max_new=4)


def test_tests_that_cannot_be_laid_out_leave_no_directory_behind(tmp_path):
    with pytest.raises(UserError, match=r"data\.tests, '2x': .*too few different examples"):
        loop.train(tiny(data__tests="2x: copy(symbols=2, train=(1, 1), test=(2, 2))"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_contents_of_tests_are_another_run(tmp_path):
    loop.train(tiny(), tmp_path)
    with pytest.raises(UserError, match=r"another config(.|\n)*data\.tests"):
        loop.train(tiny(data__tests=""), tmp_path)


@pytest.mark.parametrize("family", ["decoder_only", "encoder_decoder"])
def test_exact_match_is_that_of_greedy_decoding(family):
    """Targets that greedy decoding wrote are all exact; with a token changed in some rows, those are not."""
    config = tiny(model__family=family, data__view="pairs" if family == "encoder_decoder" else "prompt_answer")
    program = program_of(config)
    params = moved(program.init(hyper_of(program, config)).params, noise=0.3)
    rows, prompt, new = 6, 4, 7
    start = small_batch(family, rows=rows, length=prompt)
    written = generate(program.arch, params, start, jax.random.key(0), sampling=Sampling(), max_new=new, eos=-1)
    written = np.asarray(written)
    assert len(np.unique(written)) > 3
    answers = written.copy()
    for row, at in ((1, 0), (2, new - 1), (4, 3)):
        answers[row, at] = (answers[row, at] + 1) % 259
    whole = np.concatenate([start.tokens_BL, answers], axis=1)
    length = prompt + new - 1
    batch = small_batch(family, rows=rows, length=length).replace(
        tokens_BL=whole[:, :-1],
        targets_BL=whole[:, 1:],
        weights_BL=np.tile(np.float32(np.arange(length) >= prompt - 1), (rows, 1)),
        source_BM=start.source_BM,
    )
    values = evaluate_loss(program, params, [batch])
    assert values["exact_match"] == (written == answers).all(1).mean() == 0.5


def test_packing_and_micro_batches_do_not_change_exact_match():
    """A model of zeros always says token 0: it is right about letters up to p, and EOS, once these read 0."""
    found = set()
    for packed, accumulate in ((False, 1), (True, 1), (True, 2)):
        config = tiny(data__packed=packed, optim__accumulate=accumulate, data__tests="")
        data, program = load(config.data, 0), program_of(config)
        params = jax.tree.map(jnp.zeros_like, program.init(hyper_of(program, config)).params)
        p = data.tokenizer.encode("p")[0][0]
        batches = [
            batch.replace(targets_BL=np.where(batch.targets_BL <= p, 0, batch.targets_BL))
            for batch in data.eval_batches("valid")
        ]
        found.add(evaluate_loss(program, params, batches)["exact_match"])
    right = [max(target) <= "p" for _, target in data.examples("valid")]
    assert found == {sum(right) / len(right)} and 0 < sum(right) < len(right)
