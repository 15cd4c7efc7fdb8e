"""What a mesh cannot split is refused with the reason, before anything compiles."""

import pytest
from models import small_config

from transformer_jax.combinations import MODEL_SPECS, unshardable
from transformer_jax.model.weighting import weightings
from transformer_jax.parallel.mesh import AXES
from transformer_jax.parallel.rules import RULES
from transformer_jax.validate import problems

# All that can refuse stand in self-attention, if they are mixers.
REGISTRIES = {key: registry for key, registry in MODEL_SPECS.items() if key not in ("family", "cross_mixer")}
REGISTRIES["weights"] = weightings
DECLARED = [
    (key, name, axis)
    for key, registry in REGISTRIES.items()
    for name in registry.names()
    for axis in registry.lookup(name).unshardable
]


def told(mesh: dict, **model) -> str:
    config = small_config(**model)
    config.data.length = config.data.source_length = 24
    config.data.batch_size = 8
    config.mesh.update(dict.fromkeys(AXES, 1) | mesh)
    return "\n".join(problems(config, n_devices=8))


def test_rules_name_axes_that_there_are():
    axes = [axis for rule in RULES.values() for axis in ((rule,) if isinstance(rule, str) else rule or ())]
    assert set(axes) == set(AXES) - {"replica"}  # which carries runs, not parts of one


def test_recurrences_and_no_others_refuse_a_sharded_length():
    refused = {name for key, name, axis in DECLARED if (key, axis) == ("mixer", "context")}
    assert refused == {"gru", "linear", "lstm", "mamba2", "retention"}
    assert {(key, axis) for key, _, axis in DECLARED} == {("mixer", "context"), ("encoder_mixer", "context")}


@pytest.mark.parametrize("key, name, axis", DECLARED)
def test_what_is_declared_is_refused_with_its_reason(key, name, axis):
    family = "encoder_decoder" if key == "encoder_mixer" else "decoder_only"
    spec = f"mha(weights={name!r})" if key == "weights" else name
    place = "mixer" if key == "weights" else key
    model = {"family": family, "position": "none", place: spec}
    (reason,) = [why for at, why in unshardable(REGISTRIES[key], name).items() if at == axis]
    found = told({axis: 2, "data": 4}, **model)
    assert f"mesh.{axis}=2: model.{place}={spec!r} cannot be split over it: {reason}; give 1" in found
    assert not told({"data": 8}, **model)


def test_a_mixer_of_the_encoder_alone_is_refused_by_its_own_name():
    found = told({"context": 2, "data": 4}, family="encoder_decoder", encoder_mixer="lstm", position="sinusoidal")
    assert "model.encoder_mixer='lstm'" in found and "model.mixer" not in found


def test_in_a_pattern_the_one_that_refuses_is_named():
    found = told({"context": 2, "data": 4}, mixer="mha, gru", position="none")
    assert "model.mixer='gru'" in found and "mha" not in found


@pytest.mark.parametrize(
    "mesh, model, words",
    [
        ({"tensor": 8}, {}, ["heads of 4", "mesh.tensor", "model.heads"]),
        ({"tensor": 2, "data": 4}, {"mixer": "mha(kv_heads=1)"}, ["kv_heads of 1", "mesh.tensor", "kv_heads"]),
        ({"tensor": 4, "data": 2}, {"ffn_size": 66}, ["ffn of 66", "mesh.tensor", "model.ffn_size"]),
        ({"fsdp": 8}, {"width": 36, "heads": 2}, ["width of 36", "mesh.fsdp", "model.width"]),
        ({"expert": 8}, {"ffn": "moe(experts=4)"}, ["expert of 4", "mesh.expert", "experts of model.ffn"]),
        ({"context": 8}, {}, []),
    ],
)
def test_sizes_that_cannot_be_divided_are_named_with_their_field(mesh, model, words):
    found = told(mesh, **model)
    assert bool(found) == bool(words) and all(word in found for word in words)


def test_a_length_that_the_context_cannot_divide_is_refused():
    config = small_config()
    config.data.length, config.data.batch_size = 12, 8
    config.mesh.update(dict.fromkeys(AXES, 1) | {"context": 8})
    assert any("data.length=12 cannot be divided over mesh.context=8" in line for line in problems(config, n_devices=8))
