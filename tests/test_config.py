"""Configs: one place for keys, typed overrides, and everything impossible refused before anything compiles."""

from pathlib import Path

import pytest

from transformer_jax import config as config_lib
from transformer_jax import config_file
from transformer_jax.errors import UserError
from transformer_jax.validate import problems, validate

ROOT = Path(__file__).parents[1]
CONFIGS = [
    "lm_web.py",
    "lm_web.py:smoke",
    "toy.py",
    "web_kjv.py:encoder_decoder",
    "web_kjv.py:decoder_only",
]


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_are_valid(name):
    validate(config_file.load(str(ROOT / "configs" / name)))


def test_derived_values_follow_until_they_are_set():
    config = config_lib.base()
    config.model.width = 64
    assert config.model.ffn_size == 256
    config_lib.override(config, "model.ffn_size", 100)
    config.model.width = 32
    assert config.model.ffn_size == 100


def test_saved_configs_come_back():
    config = config_lib.smoke(config_lib.base())
    again = config_lib.from_dict(config_lib.to_dict(config))
    assert config_lib.to_dict(again) == config_lib.to_dict(config)


def test_fingerprint_knows_what_matters():
    one, other = config_lib.base(), config_lib.base()
    other.run.log_every = 1
    assert config_lib.fingerprint(one) == config_lib.fingerprint(other)
    other.seed = 1
    assert config_lib.fingerprint(one) != config_lib.fingerprint(other)
    assert config_lib.differences(config_lib.to_dict(one), config_lib.to_dict(other)) == ["seed: 0 -> 1"]


@pytest.mark.parametrize(
    "key, text, told",
    [
        ("model.widht", "3", "unknown config key 'model.widht' (did you mean 'model.width'?)"),
        ("modle.width", "3", "did you mean 'model.width'?"),
        ("model.width", "big", "give a whole number"),
        ("model.width", "1.5", "give a whole number"),
        ("model.bias", "maybe", "give true or false"),
        ("model", "3", "unknown config key 'model'"),
        ("model.width.x", "3", "unknown config key"),
    ],
)
def test_bad_overrides_are_told(key, text, told):
    with pytest.raises(UserError) as error:
        config_file.load(str(ROOT / "configs/lm_web.py"), {key: text})
    assert told in str(error.value)


def test_overrides_take_the_type_of_the_key():
    texts = {"optim.learning_rate": "1", "model.head_size": "16", "model.bias": "true", "model.position": "t5"}
    config = config_file.load(str(ROOT / "configs/lm_web.py"), texts)
    assert config.optim.learning_rate == 1.0 and config.model.head_size == 16
    assert config.model.bias is True and config.model.position == "t5"


@pytest.mark.parametrize(
    "content, told",
    [
        ("from transformer_jax import config\ndef get_config(m):\n c = config.base()\n c.model.widht = 3\n return c",
         ":4: unknown config key 'widht' (did you mean 'width'?)"),
        ("def get_config(m): return 3", "returned int, not a ConfigDict"),
        ("x = 1", "has no function get_config"),
        ("def get_config(m)", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_bad_config_files_are_told(tmp_path, content, told):
    (tmp_path / "c.py").write_text(content)
    with pytest.raises(UserError) as error:
        config_file.load(str(tmp_path / "c.py"))
    assert told in str(error.value)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"model.position": "ropee"}, "unknown position 'ropee' (did you mean 'rope'?); have alibi, cope, "),
        ({"model.family": "decoder"}, "unknown family 'decoder' (did you mean 'decoder_only'?)"),
        ({"model.heads": 3}, "model.width=128 is not divisible by model.heads=3"),
        (
            {"model.mixer": "lstm"},
            "acts through key, query, which model.mixer='lstm' does not read: give model.position",
        ),
        ({"model.mixer": "decoder_values"}, "it is for cross-attention"),
        ({"model.mixer": "mha(weights='snk')"}, "unknown weights 'snk' (did you mean 'sink'?)"),
        ({"model.mixer": "(mha)*3, lstm", "model.position": "(rope)*3, rope"}, "does not read"),
        ({"model.mixer": "mha, mha(window=8), mha"}, "model.layers=4: the decoder's patterns repeat every 3 layers"),
        ({"model.mixer": "(mha)*0"}, "give a whole number above 0 behind the *"),
        ({"model.position": "sinusoidal, none"}, "is added to the embeddings, below all layers"),
        ({"model.mixer": "value_residual, value_residual(kv_heads=2)"}, "give all value_residual layers the same"),
        (
            {"model.mixer": "talking", "model.attention": "xla"},
            "the fused kernel does not compute model.mixer",
        ),
        ({"model.residual": "pre, post"}, "cannot read the spec 'pre, post'"),
        ({"model.ffn": "moe(top=9)"}, "top=9: give 1 to experts=4"),
        ({"model.head_mask": "decoder.attention 9.0"}, "model.head_mask: there is no head decoder.attention 9.0"),
        ({"model.position": "learned(length=32)"}, "learned positions end at 32, and rows are 128 tokens long"),
        ({"model.position": "rope(fraction=0.01)"}, "must be an even number above 0"),
        ({"model.mixer": "mha(kv_heads=3)"}, "4 heads cannot be shared out evenly; give a divisor of 4"),
        ({"model.dtype": "float16"}, "model.dtype='float16': give one of float32, bfloat16"),
        ({"model.dropout": 1.0}, "model.dropout=1.0: give 0 or more, below 1"),
        ({"train.steps": 0}, "train.steps=0: give a number above 0"),
        ({"optim.schedule": "cosin"}, "unknown schedule 'cosin' (did you mean 'cosine'?)"),
        ({"optim.warmup_steps": 1000}, "optim.warmup_steps=1000 is more than train.steps=200"),
        ({"optim.accumulate": 3}, "give a multiple of 3"),
        ({"mesh.data": 3}, "needs 3 devices, and there are 1"),
        ({"mesh.fsdp": -1}, "-1 (the rest) on one axis at most"),
        ({"data.view": "pairs"}, "data.view='pairs' takes pairs"),
        ({"data.corpus": "web_kjv", "data.view": "pairs"}, "does not feed model.family='decoder_only'"),
        (
            {"model.attention": "cudnn"},
            "model.attention='cudnn' cannot be used: the platform is cpu, not gpu; give auto",
        ),
        ({"model.position": "rope(theta=-1.0)"}, "model.position: theta=-1.0: give a number above 0"),
        ({"model.norm": "layernorm(eps=-1.0)"}, "eps=-1.0: give a number above 0"),
        ({"optim.schedule": "cosine(floor=-3.0)"}, "optim.schedule: floor=-3.0: give 0 to 1"),
        ({"optim.learning_rate": float("inf")}, "optim.learning_rate=inf"),
        ({"data.corpus": "text(path='/none.txt')"}, "none.txt"),
        ({"seed": -1}, "seed=-1: give 0 or more"),
        ({"init_salt": 2**63}, "init_salt: the number has more than 31 bits"),
        ({"mesh.replica": True}, "mesh.replica=True: give a whole number"),
        ({"objective.z_loss": float("nan")}, "objective.z_loss=nan: give a number that float32 holds"),
        ({"optim.learning_rate": 1e39}, "optim.learning_rate=1e+39: give a number that float32 holds"),
        ({"model.head_mask": "x" * 200_000}, "model.head_mask: the text has 200000 letters"),
        ({"model.mixer": "(mha)*1000000000"}, "so that there are 10000 specs at most"),
    ],
    ids=str,
)
def test_impossible_configs_are_refused(changes, told):
    config = config_lib.base()
    for key, value in changes.items():
        config_lib.override(config, key, value)
    with pytest.raises(UserError) as error:
        validate(config)
    assert told in str(error.value)


def test_all_problems_are_told_at_once():
    config = config_lib.base()
    config.model.position, config.model.ffn = "ropee", "gelo"
    assert len(problems(config)) == 2


def test_a_batch_that_the_mesh_cannot_divide_is_refused():
    config = config_lib.base()
    config.data.batch_size = 12
    with pytest.raises(UserError, match=r"data\.batch_size=12 cannot be divided"):
        validate(config, n_devices=8)


@pytest.mark.parametrize(
    "mesh, changes, told",
    [
        ({"tensor": 8}, {}, "heads of 4 cannot be split over mesh axis tensor of 8"),
        ({"tensor": 4}, {"model.mixer": "mha(kv_heads=1)"}, "kv_heads of 1 cannot be split over mesh axis tensor"),
        ({"fsdp": 8}, {"model.width": 36, "model.heads": 3}, "width of 36 cannot be split over mesh axis fsdp of 8"),
        ({"expert": 8}, {}, "mesh.expert=8: model.ffn='gelu' has no experts; give 1"),
    ],
    ids=str,
)
def test_meshes_that_cannot_divide_the_model_are_refused(mesh, changes, told):
    config = config_lib.base()
    config.model.heads = 4
    for key, value in changes.items():
        config_lib.override(config, key, value)
    config.mesh.update(mesh)
    found = "\n".join(problems(config, n_devices=8))
    assert told in found
