"""The configs that speed is measured with are of the size that they say."""

from pathlib import Path

import pytest

from transformer_jax import config_file
from transformer_jax.train import flops
from transformer_jax.train.loop import compiled_program, make_mesh
from transformer_jax.validate import validate

CONFIGS = Path(__file__).parents[2] / "configs"
GPT2, VOCAB = 124_439_808, 50_257


def program(location, **overrides):
    config = config_file.load(f"{CONFIGS}/{location}", {k.replace("__", "."): v for k, v in overrides.items()})
    validate(config)
    return compiled_program(config, VOCAB, make_mesh(config.mesh)), config


@pytest.mark.parametrize("mode", ["", ":cpu"])
def test_gpt2_has_gpt2s_parameters(mode):
    built, _ = program(f"gpt2_124m.py{mode}")
    assert flops.count(built.param_shapes) == GPT2


def test_gpt2_costs_what_its_matrices_cost():
    built, config = program("gpt2_124m.py")
    matrices = 12 * 12 * 768**2 + VOCAB * 768
    attention = 12 * 12 * 768 * 1024
    assert flops.flops_per_token(built.arch, built.boxed_params, config.data.length, 0) == 6 * matrices + attention


@pytest.mark.parametrize("mode", ["", ":cpu"])
def test_the_encoder_decoder_is_as_large(mode):
    built, _ = program(f"encoder_decoder_124m.py{mode}")
    count = flops.count(built.param_shapes)
    assert count == pytest.approx(GPT2, rel=0.01)
    assert f"{count:,}" in (CONFIGS / "encoder_decoder_124m.py").read_text()


def test_a_padded_table_is_nano_gpts():
    built, _ = program("gpt2_124m.py", model__vocab_multiple="128")
    assert flops.count(built.param_shapes) == GPT2 + (50_304 - VOCAB) * 768
