"""Plans: what is counted, which meshes are found, what is refused, what the command says."""

import json

import pytest
from models import FAMILIES, small_config
from variants import case_config
from variants import cases as variants

from transformer_jax import config_file
from transformer_jax.__main__ import main
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.parallel.mesh import AXES
from transformer_jax.plan import Plan, plan
from transformer_jax.plan.search import meshes
from transformer_jax.plan.vocabulary import vocab_of
from transformer_jax.train.flops import count, flops_per_token
from transformer_jax.train.step import boxed_params

CHOSEN = ("residual-hyper_connections", "mixer-mamba2", "ffn-moe(capacity=2.0)", "position-transformer_xl")


def config_of(**model):
    config = small_config(**model)
    config.data.batch_size = 8
    return config


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_flops_are_the_models(family):
    config = config_of(family=family)
    found = plan(config, "cpu:8", vocab=64)
    arch = Arch.from_config(config, vocab=64, platform="cpu")
    assert found.parameters == found.trained == count(boxed_params(arch))
    d = config.data
    per_token = flops_per_token(arch, boxed_params(arch), d.length, d.source_length, rows=8)
    assert found.flops["per_token"] == per_token
    assert found.flops["model"] == found.flops["executed"] == per_token * found.tokens


def test_what_is_computed_again_counts():
    plain, again = (plan(config_of(remat=remat), "v5e:2x4", vocab=64) for remat in ("none", "full"))
    assert again.flops["model"] == plain.flops["model"]
    assert 1.15 < again.flops["executed"] / plain.flops["executed"] < 1.34
    assert again.own.held.parts["activations"] < 0.5 * plain.own.held.parts["activations"]


@pytest.mark.parametrize(
    "name, family, changes",
    [
        pytest.param(*case, id=case[0], marks=[] if case[0].endswith(CHOSEN) else [pytest.mark.slow])
        for case in variants()
    ],
)
def test_every_variant_is_planned(name, family, changes):
    config = case_config(family, changes)
    config.data.batch_size = 8
    found = plan(config, "v5e:2x4", vocab=64)
    assert found.best and all(each.fits for each in found.best)
    for each in (found.own, *found.best):
        assert each.held.parts["activations"] > 0 and each.bound.step > 0 and 0 < each.bound.utilisation <= 1


def test_each_axis_divides_what_it_should():
    config = config_of(heads=8, width=64)
    config.data.length = config.data.source_length = 16

    def on(**sizes):
        for axis in AXES:
            config.mesh[axis] = sizes.get(axis, 1)
        return plan(config, "cpu:8" if sizes else "cpu:1", vocab=64).own

    one, data, fsdp, tensor, context = on(), on(data=8), on(fsdp=8), on(tensor=8), on(context=8)
    assert data.held.parts["parameters"] == one.held.parts["parameters"]
    for name in ("parameters", "optimizer", "gradients"):
        assert fsdp.held.parts[name] < 0.2 * one.held.parts[name]
    for each in (data, fsdp, context):
        assert each.held.parts["activations"] < 0.2 * one.held.parts["activations"]
    assert tensor.held.parts["logits"] < 0.2 * one.held.parts["logits"]
    assert not one.sent
    assert data.sent.keys() == {"data"} and data.sent["data"].keys() == {"all-reduce"}
    assert {"all-gather", "reduce-scatter"} <= fsdp.sent["fsdp"].keys()
    assert tensor.sent["tensor"]["all-reduce"] > 0
    assert context.sent["context"]["all-gather"] > 0


def test_all_reduce_of_gradients_is_what_a_ring_sends():
    config = config_of()
    found = plan(config, "cpu:4", vocab=64)
    assert found.own.sent == {"data": {"all-reduce": pytest.approx(2 * 3 / 4 * 4 * found.parameters)}}


def test_meshes_are_all_products():
    found = list(meshes(8, experts=False))
    assert len(found) == 20 and all(set(sizes) == set(AXES) for sizes in found)
    assert len({tuple(sizes.values()) for sizes in found}) == 20
    assert len(list(meshes(8, experts=True))) == 35


def test_the_search_finds_a_mesh_that_fits_where_the_configs_own_does_not():
    config = config_file.load("configs/lm_1b.py", {"mesh.data": "-1", "mesh.fsdp": "1"})
    found = plan(config, "v5e:16x16")
    assert found.own.fits is False and found.best and found.counts["fitting"] > 10
    assert all(each.held.total <= found.budget for each in found.best)
    assert [each.bound.step for each in found.best] == sorted(each.bound.step for each in found.best)


def test_a_mesh_that_is_refused_is_told_and_others_are_shown():
    config = config_of()
    config.mesh.data, config.mesh.fsdp = 3, 1
    found = plan(config, "cpu:4", vocab=64)
    assert found.own is None and "mesh=" in found.refused[0] and found.best


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"model.heads": "3"}, "model.width=32"),
        ({"model.mixer": "lstm"}, "model.position"),
        ({"data.batch_size": "0"}, "data.batch_size=0"),
        ({"model.remat": "some"}, "model.remat='some'"),
        ({"optim.trains": "nothing/*"}, "optim.trains"),
    ],
)
def test_a_config_that_cannot_run_anywhere_is_refused_by_field(changes, field):
    config = config_of()
    for key, text in changes.items():
        section, leaf = key.split(".")
        config[section][leaf] = config_file.parse(config, key, text)
    with pytest.raises(UserError, match=field.replace("/", ".")):
        plan(config, "cpu:8", vocab=64)


def test_a_vocabulary_that_no_mesh_divides_is_told():
    config = config_of()
    config.mesh.data, config.mesh.tensor = 4, 2
    found = plan(config, "cpu:8", vocab=63)
    assert found.own is None and "model.vocab_multiple=1" in found.refused[0]
    assert all(each.mesh["tensor"] == 1 for each in found.best)


def test_vocabularies_are_known_before_anything_is_fitted():
    config = small_config()
    assert vocab_of(config) == 259
    config.data.tokenizer = "bpe(vocab=5000)"
    assert vocab_of(config) == 5000 and vocab_of(config, 77) == 77
    config.data.tokenizer = "saved(path='nowhere')"
    with pytest.raises(UserError, match="nowhere"):
        vocab_of(config)


@pytest.mark.parametrize("attention", ["auto", "cudnn"])
def test_a_fused_kernel_is_planned_without_a_device_and_keeps_no_pairs(attention):
    config = config_of(dtype="bfloat16", attention=attention)
    config.data.length = config.data.source_length = 64
    found, plain = plan(config, "8xH100", vocab=64), plan(config_of(dtype="bfloat16"), "cpu:8", vocab=64)
    assert found.own.held.parts["activations"] / 64 < plain.own.held.parts["activations"] / config_of().data.length
    pairs = [each for each in found.best if each.mesh["context"] > 1]
    assert not (pairs and attention == "cudnn")  # which cannot read a divided row


def test_a_corpus_that_cannot_be_read_here_hinders_nothing():
    config = config_of()
    config.data.corpus = "text(path='nowhere.txt')"
    found = plan(config, "cpu:8", vocab=64)
    assert found.own and "nowhere.txt" in found.notes[0]
    config.data.corpus = "txt(path='nowhere.txt')"
    with pytest.raises(UserError, match="unknown corpus"):
        plan(config, "cpu:8", vocab=64)


def command(*flags, config="configs/lm_web.py"):
    return main(["plan", f"--config={config}", *flags])


def test_the_command_prints_a_table_or_json(capsys):
    assert command("--machine=v5e:2x2") == 0
    text = capsys.readouterr().out
    for word in ("parameters", "optimizer", "activations", "sent per device", "data 4", "not measured", "best"):
        assert word in text
    assert command("--machine=v5e:2x2", "--json", "--config.mesh.data=1", "--config.mesh.fsdp=-1") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["own"]["mesh"]["fsdp"] == 4 and told["own"]["fits"] is True and told["parameters"] == 3_674_624
    assert sum(told["own"]["communication"]["fsdp"].values()) > 0


def test_what_does_not_fit_is_told_with_what_would(capsys):
    grown = [f"--config.model.{key}={value}" for key, value in {"layers": 48, "width": 4096, "heads": 32}.items()]
    assert command("--machine=1xA100", "--config.data.batch_size=256", *grown) == 2
    told = capsys.readouterr()
    assert "DOES NOT FIT" in told.out and "no mesh fits" in told.err and "it would fit" in told.err


@pytest.mark.parametrize(
    "flags", [["--machine=v5e:3x3"], ["--machine=cpu:8", "--vocab=2"], ["--machine=cpu:8", "--reserve=1"]]
)
def test_mistakes_are_told(flags, capsys):
    assert command(*flags) == 2
    assert flags[-1].partition("=")[2] in capsys.readouterr().err


def test_a_plan_goes_through_json():
    found = plan(config_of(), "2xv5e:2x4", vocab=64)
    assert isinstance(found, Plan)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
