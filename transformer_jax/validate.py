"""`validate`: everything that can be known to be wrong with a config before anything compiles."""

import dataclasses
import math
from importlib.util import find_spec

from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict

from transformer_jax import combinations, data
from transformer_jax import config as config_lib
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.embedding import embeddings
from transformer_jax.model.family import families
from transformer_jax.model.ffn import ffns
from transformer_jax.model.head import heads
from transformer_jax.model.kernel import kernels
from transformer_jax.parallel import rules
from transformer_jax.parallel.mesh import axis_sizes
from transformer_jax.registry import parse_pattern, parse_spec
from transformer_jax.train.schedule import schedules
from transformer_jax.train.spikes import spikes
from transformer_jax.train.step import boxed_params, finetuning_problems

_POSITIVE = {
    "model": ("layers", "encoder_layers", "width", "heads", "ffn_size", "vocab_multiple", "logits_chunks"),
    "optim": ("learning_rate", "eps", "accumulate"),
    "train": ("steps", "eval_every", "steps_per_dispatch"),
    "run": ("log_every", "checkpoint_every", "keep_checkpoints"),
}
_NOT_NEGATIVE = {
    "optim": ("warmup_steps", "weight_decay", "clip"),
    "model": ("init_scale",),
    "objective": ("z_loss",),
    "train": ("eval_batches", "max_skipped", "patience"),
}
_FRACTION = {"model": ("dropout",), "objective": ("label_smoothing",), "optim": ("b1", "b2", "ema")}


def validate(config: ConfigDict, *, n_devices: int = 1, platform: str = "cpu") -> None:
    """Refuses a config that cannot be run as it is written; changes nothing.

    Args:
      n_devices, platform: of the machine that the run is for.

    Raises:
      UserError: naming every problem found: the key, its value, what would be accepted.
    """
    found = problems(config, n_devices=n_devices, platform=platform)
    if found:
        raise UserError("\n".join(found))


def check_classes(config: ConfigDict, data: data.Data) -> None:
    """Refuses a head that does not tell apart the labels that the data have, or tokens where there are labels.

    Raises:
      UserError: with the number to give.
    """
    classes = heads.arguments(config.model.head).get("classes", heads.lookup(config.model.head).classes)
    if classes != data.classes:
        wanted = "'linear'" if data.classes is None else f"'first(classes={data.classes})'"
        have = "tokens, no labels" if data.classes is None else f"{data.classes} labels"
        raise UserError(f"model.head={config.model.head!r}: the targets of the data are {have}; give {wanted}")


def problems(config: ConfigDict, *, n_devices: int = 1, platform: str = "cpu") -> list[str]:
    """What `validate` would refuse, a line each."""
    found = config_lib.structure_problems(config)
    if found:  # the rest reads keys and would stumble
        return found
    found += _range_problems(config)
    found += data.problems(config.data)
    specs = combinations.spec_problems(config) + _schedule_problems(config) + _spike_problems(config)
    if found or specs:
        return found + specs
    found += combinations.part_problems(config)
    found = found or finetuning_problems(config)  # which builds the model
    found += _view_problems(config)
    found += _mesh_problems(config, n_devices, platform)
    return found or _sharding_problems(config, n_devices)


def mesh_problems(config: ConfigDict, n_devices: int, platform: str) -> list[str]:
    """What of `problems` hangs on the mesh and takes no model to see, of a config that is valid otherwise."""
    return _mesh_problems(config, n_devices, platform)


def _range_problems(config) -> list[str]:
    rules = [
        (_POSITIVE, lambda value: 0 < value < math.inf, "give a number above 0"),
        (_NOT_NEGATIVE, lambda value: 0 <= value < math.inf, "give 0 or more"),
        (_FRACTION, lambda value: 0 <= value < 1, "give 0 or more, below 1"),
    ]
    found = []
    for keys, accepts, wanted in rules:
        for section, names in keys.items():
            bad = [name for name in names if not accepts(config[section][name])]
            found += [f"{section}.{name}={config[section][name]}: {wanted}" for name in bad]
    found += [f"{key}={config[key]}: give 0 or more" for key in ("seed", "init_salt") if config[key] < 0]
    for key in ("test_batches", "answers"):
        if config.train[key] < -1:
            found.append(f"train.{key}={config.train[key]}: give a number, 0 for none or -1 for all")
    m = config.model
    if m.head_size is None and m.heads > 0 and m.width % m.heads:
        found.append(
            f"model.width={m.width} is not divisible by model.heads={m.heads}: change one, or give model.head_size"
        )
    if m.head_size is not None and m.head_size <= 0:
        found.append(f"model.head_size={m.head_size}: give a number above 0, or None for width / heads")
    if config.optim.warmup_steps > config.train.steps:
        found.append(f"optim.warmup_steps={config.optim.warmup_steps} is more than train.steps={config.train.steps}")
    return found


def _schedule_problems(config) -> list[str]:
    try:
        schedule = schedules.build(config.optim.schedule, peak=1.0, warmup=0, steps=1)
    except UserError as error:
        return [f"optim.schedule: {error}"]
    return [f"optim.schedule: {problem}" for problem in schedule.problems()]


def _spike_problems(config) -> list[str]:
    try:
        return [f"train.spikes={config.train.spikes!r}: {p}" for p in spikes.build(config.train.spikes).problems()]
    except UserError as error:
        return [f"train.spikes: {error}"]


def _view_problems(config) -> list[str]:
    family, found = parse_spec(config.model.family)[0], []
    for key in ("view", "eval_view"):
        view = views.build(config.data[key])
        if family in view.families:
            found += [f"data.{key}={config.data[key]!r}: {problem}" for problem in view.problems(family)]
            if view.has_parts and embeddings.arguments(config.model.embedding).get("types") == 1:
                found.append(
                    f"model.embedding={config.model.embedding!r}: data.{key}={config.data[key]!r} writes two parts; "
                    "give types=2, or 0 for none"
                )
            continue
        fit = [name for name in views.names() if family in views.build(name).families]
        found.append(
            f"data.{key}={config.data[key]!r} does not feed model.family={family!r}; views that do: {', '.join(fit)}"
        )
    return list(dict.fromkeys(found)) + _answer_problems(config)


def _answer_problems(config) -> list[str]:
    answers, family = config.train.answers, config.model.family
    if not answers:
        return []
    if views.lookup(config.data.view).kind != "pairs" or not families.lookup(family).generates:
        return [
            f"train.answers={answers}: model.family={family!r} with data.view={config.data.view!r} answers nothing; "
            "give 0, or a family and view of pairs"
        ]
    if find_spec("sacrebleu") is None:
        return [f'train.answers={answers}: BLEU and chrF need sacrebleu: pip install "transformer_jax[translate]"']
    return []


def _mesh_problems(config, n_devices: int, platform: str) -> list[str]:
    try:
        sizes = axis_sizes(config.mesh, n_devices)
    except UserError as error:
        return [str(error)]
    found = []
    rows, parts = config.data.batch_size, config.optim.accumulate
    shards = sizes["data"] * sizes["fsdp"] * sizes["expert"]
    if rows % (parts * shards):
        found.append(
            f"data.batch_size={rows} cannot be divided into optim.accumulate={parts} micro-batches over "
            f"{shards} devices (mesh data x fsdp x expert): give a multiple of {parts * shards}"
        )
    positions, chunks = config.data.length // sizes["context"], config.model.logits_chunks
    if positions % chunks:
        found.append(
            f"model.logits_chunks={chunks} does not divide the {positions} positions of a row on each device "
            "(data.length / mesh.context): give a divisor, or 1"
        )
    for key in ("length", "source_length"):
        if config.data[key] % sizes["context"]:
            found.append(f"data.{key}={config.data[key]} cannot be divided over mesh.context={sizes['context']}")
    if sizes["replica"] > 1:
        found.append(
            f"mesh.replica={sizes['replica']}: one run is not split over it; give 1 (`study run` lays the runs that "
            "train together over replicas by itself)"
        )
    if sizes["expert"] > 1 and not any("experts" in ffns.options(spec) for spec in parse_pattern(config.model.ffn)):
        found.append(f"mesh.expert={sizes['expert']}: model.ffn={config.model.ffn!r} has no experts; give 1")
    found += combinations.mesh_problems(config, sizes)
    if config.model.attention != "auto":
        why = kernels.build(config.model.attention).problems(config, platform)
        found += [f"model.attention={config.model.attention!r} cannot be used: {reason}; give auto" for reason in why]
    return found


def _sharding_problems(config, n_devices: int) -> list[str]:
    """Parameters that their mesh axes cannot divide. The vocabulary is not known yet and left out."""
    sizes = axis_sizes(config.mesh, n_devices)
    if sizes["fsdp"] == sizes["tensor"] == sizes["expert"] == 1:
        return []
    arch = Arch.from_config(config, vocab=sizes["tensor"], platform="cpu")
    arch = dataclasses.replace(arch, dims=dataclasses.replace(arch.dims, vocab_rows=sizes["tensor"]))
    mesh = AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
    try:
        rules.shardings(boxed_params(arch), mesh)
    except UserError as error:
        return [str(error)]
    return []
