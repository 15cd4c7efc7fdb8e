"""Fine-tuning: adapters, frozen parameters, initial values from elsewhere, merging."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import VOCAB, fresh, small_arch, small_batch, small_config
from models import moved as noisy

from transformer_jax import config as config_lib
from transformer_jax.decode.loading import load_run
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.family import families
from transformer_jax.parallel.rules import unbox
from transformer_jax.train import loop, rundir
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.initial import read_source
from transformer_jax.train.merge import merge, merge_run, plain
from transformer_jax.train.optim import overlay, parameter_name, pick
from transformer_jax.train.step import Recipe, Step, boxed_params, finetuning_problems
from transformer_jax.train.traced_flops import count

TASK = "copy(train=(1, 5), test=(6, 8), examples=300, held_out=30)"


def tiny(**changes):
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view = TASK, "prompt_answer"
    config.data.length = config.data.source_length = 32
    config.run.tensorboard = False
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def flat(params) -> dict:
    return {parameter_name(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(params)}


def moved(before, after) -> set[str]:
    before, after = flat(before), flat(after)
    return {name for name in after if not np.array_equal(before[name], after[name])}


def updated(config, updates=3):
    """(step, state before, state after, gradient norms) of a few updates."""
    arch = Arch.from_config(config, vocab=VOCAB, platform="cpu")
    step, hyper = Step(arch, Recipe.from_config(config)), Hyper.from_config(config, arch)
    start = state = jax.jit(step.init)(hyper)
    update, norms = jax.jit(step.update), []
    for seed in range(updates):
        state, metrics = update(state, small_batch(config.model.family, rows=4, seed=seed), hyper)
        norms.append(float(metrics.grad_norm))
    return step, start, state, norms


@pytest.fixture(scope="module")
def base_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("base") / "run"
    loop.train(tiny(), workdir)
    return workdir


@pytest.mark.parametrize(
    "family, model", [("decoder_only", {"ffn": "moe", "position": "rope, none"}), ("encoder_decoder", {})]
)
def test_lora_begins_as_the_model_that_it_adapts_and_merges_to_the_bit(family, model):
    """Also with experts, each of which has matrices of its own, and in patterns."""
    bare, arch = (small_arch(family=family, adapter=spec, **model) for spec in ("none", "lora(rank=3, on='*')"))
    plain_model, adapted = (families.build(family, arch=each) for each in (bare, arch))
    first, start = flat(fresh(plain_model)), fresh(adapted)
    second = flat(start)
    added = second.keys() - first.keys()
    for name in first:  # to the bit, but for how the tests' compiler flags vectorise one program and the other
        np.testing.assert_allclose(second[name], first[name], rtol=1e-6)
    assert added and all(name.endswith(("_lora_a", "_lora_b")) for name in added)
    assert all((second[name] == 0).all() == name.endswith("_b") for name in added)

    batch, params = jax.device_put(small_batch(family)), noisy(start)
    merged = merge(params, arch)
    assert plain(arch) == bare and flat(merged).keys() == first.keys()
    changed = {name for name in first if not np.array_equal(flat(merged)[name], flat(params)[name])}
    assert changed == {name.removesuffix("_lora_a") for name in added if name.endswith("_lora_a")}
    logits = jax.jit(lambda model, params: model.apply({"params": params}, batch), static_argnums=0)
    np.testing.assert_array_equal(logits(adapted, params), logits(plain_model, merged))


def test_lora_is_the_equation_of_the_paper():
    arch = small_arch(adapter="lora(rank=2, alpha=6.0, on='*/query, */out')", ffn="moe")
    params = noisy(jax.tree.map(lambda x: jnp.zeros(x.shape), unbox(boxed_params(arch))))
    layers, merged = params["decoder"]["layers"], merge(params, arch)["decoder"]["layers"]
    own, found = layers["attention"], merged["attention"]
    product = np.einsum("NDR,NRHK->NDHK", own["query_lora_a"], own["query_lora_b"])
    np.testing.assert_allclose(found["query"], own["query"] + 3.0 * product, atol=1e-6)
    product = np.einsum("NHKR,NRD->NHKD", own["out_lora_a"], own["out_lora_b"])
    np.testing.assert_allclose(found["out"], own["out"] + 3.0 * product, atol=1e-6)
    experts = layers["ffn"]  # each expert its own
    product = np.einsum("NEFR,NERD->NEFD", experts["out_lora_a"], experts["out_lora_b"])
    np.testing.assert_allclose(merged["ffn"]["out"], experts["out"] + 3.0 * product, atol=1e-6)
    assert "key_lora_a" not in own and "in_lora_a" not in experts


def test_an_adapter_trains_alone_with_moments_of_its_own():
    config = small_config(adapter="lora(rank=2)")
    config.optim.ema = 0.9
    step, before, after, _ = updated(config)
    own = {name for name in flat(before.params) if "_lora_" in name}
    assert moved(before.params, after.params) == moved(before.ema, after.ema) == own
    size = sum(x.size for name, x in flat(before.params).items() if name in own)
    assert sum(x.size for x in jax.tree.leaves(after.opt_state)) == 2 * size + 2  # and two counters of updates
    assert flat(step.trained(before.params)).keys() == own


def test_named_parameters_are_trained_and_the_others_stay_to_the_bit():
    config = small_config()
    config.optim.trains, config.optim.accumulate = "decoder/layers/ffn/*, */norm/scale", 2
    _, before, after, norms = updated(config)
    wanted = {name for name in flat(before.params) if "/ffn/" in name or name.endswith("norm/scale")}
    assert moved(before.params, after.params) == wanted and len(wanted) == 5
    config.optim.trains = "*"
    _, _, _, all_norms = updated(config)
    assert norms[0] < all_norms[0]  # of the trained ones


def test_no_gradient_is_computed_of_what_is_frozen():
    arch, key = small_arch(), jax.random.key(0)

    def flops(trains):
        step = Step(arch, Recipe(optim=None, accumulate=1, ema=0.0, trains=trains))
        hyper = Hyper.from_config(small_config(), arch)
        params = fresh(families.build(arch.family, arch=arch))
        return count(jax.make_jaxpr(step.gradients)(params, small_batch("decoder_only"), key, hyper))

    everything, scales = flops("*"), flops("*/norm/*")
    assert flops("decoder/close/*") < 0.5 * everything  # nothing below the last norm is gone through
    assert 0.55 < scales / everything < 0.75  # two of three products of each matrix


def test_trees_are_taken_apart_and_put_together():
    tree = {"a": {"b": 1, "c": 2}, "d": 3}
    mask = {"a": {"b": True, "c": False}, "d": False}
    assert pick(tree, mask) == {"a": {"b": 1}} and pick(tree, jax.tree.map(lambda _: True, tree)) == tree
    assert overlay(tree, {"a": {"b": 9}}) == {"a": {"b": 9, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    "model, trains, message",
    [
        ({"adapter": "lora(rank=0)"}, "", "rank=0: give at least 1"),
        ({"adapter": "lora(alpha=0.0)"}, "", "alpha=0.0: give a number that is not 0"),
        ({"adapter": "lora(on='*/attn/*')"}, "", "matches none of the matrices that it can take: .*attention/query"),
        ({"adapter": "lora(on='*/norm/*')"}, "", "matches none"),
        ({}, "decoder/*, decoder/layer/*", "'decoder/layer/\\*' matches no parameter; have .*decoder/layers/ffn/in"),
    ],
)
def test_patterns_that_match_nothing_are_refused_with_what_there_is(model, trains, message):
    config = small_config(**model)
    config.optim.trains = trains
    (found,) = finetuning_problems(config)
    assert found.startswith(("model.adapter=", "optim.trains=")) and re.search(message, found)


def test_a_run_begins_from_another_and_is_merged(base_run, tmp_path, capsys):
    config = tiny(model__adapter="lora(rank=2)", train__init_from=str(base_run), optim__learning_rate=1e-2)
    workdir = tmp_path / "lora"
    result = loop.train(config, workdir)
    source, run = flat(read_source(str(base_run)).params), load_run(workdir)
    found = flat(run.params)
    assert all(np.array_equal(found[name], source[name]) for name in source)
    initial = json.loads((workdir / "manifest.json").read_text())["initial"]
    assert initial["step"] == 8 and initial["fresh"] == sorted(found.keys() - source.keys())
    assert "initial values: 13 parameters" in capsys.readouterr().out

    told = merge_run(workdir, tmp_path / "merged")
    merged = load_run(tmp_path / "merged")
    assert told["difference"] == 0.0 and merged.config.model.adapter == "none"
    assert flat(merged.params).keys() == source.keys()
    changed = {name for name in source if not np.array_equal(source[name], flat(merged.params)[name])}
    assert changed == {f"decoder/layers/attention/{name}" for name in ("query", "key", "value", "out")}
    assert np.isfinite(result["metrics"]["valid/loss"])
    with pytest.raises(UserError, match="nothing to merge"):
        merge_run(tmp_path / "merged", tmp_path / "again")
    with pytest.raises(UserError, match="is not empty"):
        merge_run(workdir, tmp_path / "merged")


def test_what_a_model_cannot_take_is_refused(base_run, tmp_path):
    for changes, message in [
        (dict(model__width=48), r"embedding/table: \(259, 32\) in the source, \(259, 48\) in the model"),
        (dict(model__layers=1), r"decoder/layers/ffn/in: \(2, 32, 64\) in the source, \(1, 32, 64\) in the model"),
        (dict(model__norm="rmsnorm"), r"norm/shift: \(2, 32\) in the source, none in the model"),
        (dict(data__tokenizer="word"), "was trained with another tokenizer"),
    ]:
        with pytest.raises(UserError, match=message):
            loop.train(tiny(train__init_from=str(base_run), **changes), tmp_path / "no")
        assert not (tmp_path / "no").exists()


def test_a_run_goes_on_only_from_the_values_it_began_with(base_run, tmp_path):
    config = tiny(train__init_from=str(base_run), model__position="alibi")
    loop.train(config, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["initial"]["differences"] == ["position: 'rope' -> 'alibi'"]
    (tmp_path / "run/result.json").unlink()
    manifest["initial"]["sha256"] = "0" * 64
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    again = loop.train(config, tmp_path / "run")  # from its checkpoint: the source is not needed
    assert again["step"] == config.train.steps
    (tmp_path / "run/result.json").unlink()
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(UserError, match="other parameters than when the run"):
        loop.train(config, tmp_path / "run")


@pytest.mark.slow
def test_what_was_merged_is_not_begun_anew_when_its_checkpoint_is_lost(base_run, tmp_path):
    config = tiny(model__adapter="lora(rank=2)", train__init_from=str(base_run))
    loop.train(config, tmp_path / "run")
    merge_run(tmp_path / "run", tmp_path / "merged")
    for path in (tmp_path / "merged/checkpoints").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes() + b"x")
    merged = rundir.read_config(tmp_path / "merged")
    with pytest.raises(UserError, match="was merged, and holds no checkpoint that verifies"):
        loop.train(merged, tmp_path / "merged")


@pytest.mark.slow
def test_members_of_a_population_begin_from_the_same_values(base_run, tmp_path):
    changes = dict(model__adapter="lora(rank=2)", train__init_from=str(base_run), train__steps=2, train__eval_every=2)
    configs = [tiny(seed=seed, optim__learning_rate=rate, **changes) for seed, rate in ((0, 1e-2), (1, 3e-2))]
    workdirs = [tmp_path / str(i) for i in range(2)]
    together = loop.train_together(configs, workdirs)
    assert len({result["metrics"]["valid/loss"] for result in together}) == 2
    source = flat(read_source(str(base_run)).params)
    runs = [flat(load_run(workdir).params) for workdir in workdirs]
    for run in runs:
        assert all(np.array_equal(run[name], source[name]) for name in source)
    name = "decoder/layers/attention/query_lora_a"
    assert not np.array_equal(runs[0][name], runs[1][name])
