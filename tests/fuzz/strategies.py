"""Random configs, valid ones and mutated ones, as plain dicts that JSON can hold."""

from hypothesis import strategies as st

from tests.fuzz.values import SPECS, broken_specs, odd_values, patterns, small_numbers, specs
from transformer_jax import config as config_lib
from transformer_jax.model.arch import PATTERNED
from transformer_jax.parallel.mesh import AXES

HERE = "{here}"  # stands for the directory of this file in a case, so that cases hold on every machine

_TASKS = ("copy", "reverse", "sort", "addition", "associative_recall")
_TASK = "(train=(1, 3), test=(4, 5), examples=60, held_out=12)"
_PAIRS = (*(name + _TASK for name in _TASKS), "toy", f"tsv(path='{HERE}/corpora/pairs.tsv', held_out=0.2)")
_TEXT = (f"text(path='{HERE}/corpora/documents.txt', separator='\\n\\n', held_out=0.2)",)
_LABELLED = (f"jsonl(path='{HERE}/corpora/labelled.jsonl', label='topic', held_out=0.2)",)
# Family -> views that feed it, and corpora that each view takes.
_VIEWS = {
    "decoder_only": (
        ("text", _TEXT),
        ("prefix", _TEXT),
        ("prompt_answer", _PAIRS),
        ("prompt_answer(loss='all')", _PAIRS),
        ("span(layout='joined', sentinels=4)", _TEXT),
        ("ul2(layout='joined', sentinels=4)", _TEXT),
    ),
    "prefix_lm": (("prefix", _TEXT), ("prompt_answer", _PAIRS), ("ul2(layout='joined', sentinels=4)", _TEXT)),
    "encoder_decoder": (("pairs", _PAIRS), ("span(sentinels=4)", _TEXT), ("ul2(sentinels=4)", _TEXT)),
    "encoder_only": (("masked", _TEXT), ("masked(span=2)", _TEXT), ("labelled", _LABELLED)),
}
# What most small runs have, so that many of them are one compiled program.
_BASE = {
    "model.layers": 2,
    "model.width": 32,
    "model.heads": 4,
    "model.ffn_size": 32,
    "data.length": 32,
    "data.batch_size": 8,
    "train.steps_per_dispatch": 1,
    "train.steps": 2,
    "train.eval_every": 2,
    "train.eval_batches": 1,
    "optim.warmup_steps": 0,
    "run.checkpoint_every": 2,
    "run.log_every": 1,
    "run.tensorboard": False,
}
# Other values of a small run that is valid, as a rule. Keys of `_STATIC` make another program.
_FREE = {
    "seed": (0, 1, 7),
    "init_salt": (0, 3),
    "objective.z_loss": (0.0, 1e-4, 1),
    "objective.label_smoothing": (0.0, 0.1),
    "optim.learning_rate": (1e-3, 0.1, 1, 1e-8),
    "optim.weight_decay": (0.0, 0.3),
    "optim.b1": (0.0, 0.5, 0.9),
    "optim.b2": (0.0, 0.99),
    "optim.eps": (1e-8, 1.0),
    "optim.warmup_steps": (0, 1, 2),
    "model.init_scale": (0.0, 0.5, 2.0, 30.0),
    "data.packed": (True, False),
    "data.workers": (0, 0, 1),
    "run.keep_checkpoints": (1, 2),
    "run.watchdog": (0.0, 60.0, 1800.0),
    "train.max_skipped": (0, 1, 20),
    "train.patience": (0, 1),
    "train.test_batches": (0, -1, 1),
    "train.steps": (1, 2, 1000),
}
_STATIC = {
    "model.layers": (1, 2, 3, 4),
    "model.encoder_layers": (1, 2, 4),
    "model.width": (8, 16, 24, 32, 48),
    "model.heads": (1, 2, 3, 4, 8),
    "model.head_size": (None, 4, 5, 8, 16),
    "model.ffn_size": (1, 8, 24, 64),
    "model.bias": (True, False),
    "model.tied_embeddings": (True, False),
    "model.vocab_multiple": (1, 2, 8, 100),
    "model.dropout": (0.0, 0.1, 0.9),
    "model.dtype": ("float32", "bfloat16"),
    "model.stack": ("auto", "scan", "unroll"),
    "model.remat": ("none", "full", "dots"),
    "model.attention": ("auto", "plain", "xla", "blocks", "blocks(count=3, least=1)", "cudnn"),
    "model.head_mask": ("", "all", "decoder.attention 0.1", "decoder.attention 0.0, decoder.attention 1.1", "x"),
    "data.length": (8, 16, 24, 32, 33, 64),
    "data.source_length": (8, 16, 32, 40),
    "data.batch_size": (1, 2, 4, 8, 12, 16),
    "data.tests": ("", "more: copy(test=(4, 6), examples=20, held_out=12)", "a: toy; b: toy", "far: reverse"),
    "train.steps_per_dispatch": (1, 2, 5),
    "train.answers": (0, 0, 2),
    "train.init_from": ("", "no/such/directory"),
    "optim.clip": (0.0, 1.0),
    "optim.accumulate": (1, 2, 4),
    "optim.trains": ("", "*", "decoder/*", "*/norm/*", "nothing"),
    "optim.ema": (0.0, 0.9),
}
_LIST = {**_FREE, **_STATIC}
_MESHES = (
    {"data": 8},
    {"fsdp": 8},
    {"data": 1, "tensor": 8},
    {"data": 2, "fsdp": 2, "tensor": 2},
    {"data": 2, "tensor": 4},
    {"data": 2, "context": 4},
    {"context": 2, "tensor": 2, "data": 2},
    {"fsdp": 4, "context": 2},
    {"expert": 2, "data": 4},
    {"expert": 4, "fsdp": 2, "data": 1},
    {"data": -1, "tensor": 2},
    {"fsdp": -1},
    {"replica": 2},
    {"data": 3},
)
_UNKNOWN = (
    "modle.layers",
    "model.layer",
    "model",
    "model.layers.x",
    "optim.lr",
    "data.",
    "",
    "seed ",
    "x.y.z",
    "mesh.rows",
)
_MACHINES = ("v5e:2x4", "8xH100", "v4:2x2x1", "2xv5e:2x2", "1xA100", "v6e:1x1", "tpu7x:2x2x1")


@st.composite
def cases(draw) -> dict:
    """A case: `changes` of the default config, how they are given, and what they are for.

    `entry` is python, flags or saved; `devices` are fake ones of a CPU; `machine` is planned for; `whole` trains to
    the end, checkpoints and evaluations included, where otherwise one step is taken.
    """
    devices = draw(st.sampled_from((1, 1, 1, 8)))
    changes = draw(valid(devices))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 1, 1, 2, 3)))):
        key, value = draw(mutation())
        changes[key] = value
    return {
        "entry": draw(st.sampled_from(("saved", "flags", "python"))),
        "changes": changes,
        "devices": devices,
        "machine": draw(st.sampled_from((f"cpu:{devices}",) * 6 + _MACHINES)),
        "whole": draw(st.integers(0, 19)) == 13,  # Hypothesis likes 0
    }


@st.composite
def valid(draw, devices: int) -> dict:
    """Changes that go together, as a rule."""
    changes = dict(_BASE)
    family = draw(st.sampled_from(sorted(_VIEWS)))
    view, fit = draw(st.sampled_from(_VIEWS[family]))
    changes |= {"model.family": family, "data.view": view, "data.corpus": draw(st.sampled_from(fit))}
    if family == "encoder_only" and view == "labelled":
        changes["model.head"] = draw(st.sampled_from(("first(classes=3)", "mean(classes=3)", "linear")))
    if draw(st.integers(0, 6)) == 4:
        changes["data.tokenizer"] = draw(st.sampled_from(("word(vocab=80)", "bpe(vocab=300)")))
    some = draw(st.sampled_from((_FREE, _FREE, _LIST)))
    for key in draw(st.lists(st.sampled_from(sorted(some)), unique=True, max_size=3)):
        changes[key] = draw(st.sampled_from(some[key]))
    for key in draw(st.lists(st.sampled_from(sorted(SPECS)), unique=True, max_size=draw(st.sampled_from((0, 1, 3))))):
        if key not in ("model.family", "data.corpus", "data.view", "data.eval_view", "data.tokenizer"):
            changes[key] = draw(_spec_for(key))
    if changes.get("model.mixer", "mha").startswith(("lstm", "gru", "linear", "retention", "mamba2", "none")):
        changes.setdefault("model.position", "none")
    if devices > 1:
        changes |= {f"mesh.{axis}": size for axis, size in draw(st.sampled_from(_MESHES)).items()}
        if "mesh.expert" in changes:
            changes["model.ffn"] = "moe"
    return changes


def _spec_for(key: str):
    registry = SPECS[key]
    return patterns(registry) if key.removeprefix("model.") in PATTERNED else specs(registry)


@st.composite
def mutation(draw) -> tuple[str, object]:
    """A key and a value that it should not have, as a rule."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(_UNKNOWN)), draw(odd_values)
    if kind <= 3:
        key = draw(st.sampled_from(sorted(SPECS)))
        return key, draw(st.one_of(broken_specs(SPECS[key]), specs(SPECS[key])))
    if kind == 4:
        return f"mesh.{draw(st.sampled_from(AXES))}", draw(st.one_of(st.sampled_from((-1, 0, 2, 3, 8)), odd_values))
    keys = [key for key in config_lib.known_keys() if key not in SPECS]
    return draw(st.sampled_from(keys)), draw(st.one_of(odd_values, small_numbers))
