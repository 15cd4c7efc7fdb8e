"""The configuration of a run: `base()` holds EVERY key, with its default and a comment.

A config file has one function, `get_config(mode) -> ConfigDict`, which takes `base()`, changes what it
wants to change and returns it. Nothing else in the package is imported here, and config files import
nothing but this module, so that a config can be read anywhere.
"""

import hashlib
import json

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from transformer_jax.errors import UserError, nearest

# Keys that change neither what a run computes nor what it measures; they are no part of its fingerprint.
_COSMETIC = ("run",)

_TAKES = {bool: (bool,), int: (int,), float: (int, float)}
_SHOWN = 300  # letters of a value in a message
LARGEST, GREATEST, LONGEST = 2**31 - 1, 3e38, 100_000  # of whole numbers and others, and letters of a text

CHOICES = {
    "model.dtype": ("float32", "bfloat16"),
    "model.stack": ("auto", "scan", "unroll"),
    "model.remat": ("none", "full", "dots"),
}


def base() -> ConfigDict:
    """A complete config of a small decoder-only model on English text. Keys cannot be added, only changed."""
    c = ConfigDict()
    c.seed = 0  # initialisation, dropout and the order of the data follow from it
    c.init_salt = 0  # another number gives the same seed other initial values and dropout, and the same batches

    c.model, c.data, c.optim = _model(), _data(), _optim()

    c.objective = o = ConfigDict()
    o.z_loss = 0.0  # coefficient of log(Z)^2
    o.label_smoothing = 0.0

    c.train = t = ConfigDict()
    t.steps = 200  # updates
    t.eval_every = 50  # updates between evaluations; one is always made at the end
    t.eval_batches = 8  # batches per evaluation; 0 is the whole split
    t.steps_per_dispatch = 5  # updates per jitted call
    t.test_batches = 0  # batches of the test split, evaluated once after the last update; 0 is none, -1 all of them
    t.init_from = ""  # initial values: a run directory, or a Hugging Face directory or name
    t.answers = 0  # pairs of the test split that are answered after the last update, and scored (BLEU, …); -1 is all
    t.patience = 0  # evaluations in a row without a better valid loss before the run stops early; 0 is off
    t.spikes = "keep"  # spec: what is done about a sudden rise of the gradient or loss: keep, skip(above=…), rewind(…)
    t.max_skipped = 20  # updates lost to non-finite values before the run gives up

    # Mesh axes; -1 takes the devices that are left, on one axis at most.
    c.mesh = ConfigDict(dict(replica=1, data=-1, fsdp=1, tensor=1, context=1, expert=1))

    c.run = r = ConfigDict()  # cosmetic: no part of the fingerprint
    r.log_every = 10  # updates between lines of progress
    r.checkpoint_every = 200  # updates between checkpoints; one is always made at the end
    r.keep_checkpoints = 2
    r.tensorboard = True
    r.watchdog = 1800.0  # seconds without progress, or without a sign of life of a process, that end all; 0 never does
    return c.lock()


def _model() -> ConfigDict:
    m = ConfigDict()
    m.family = "decoder_only"  # or encoder_decoder, prefix_lm, encoder_only
    m.layers = 4  # blocks of the decoder stack
    m.encoder_layers = m.get_oneway_ref("layers")  # blocks of the encoder stack, where there is one
    m.width = 128  # D
    m.heads = 4  # H
    m.head_size = placeholder(int)  # K; None means width / heads, which must then be whole
    m.ffn_size = m.get_oneway_ref("width") * 4  # F
    m.position = "rope"  # spec: what tells positions apart
    m.residual = "pre"  # spec: skip connection and placement of the norm, per sublayer
    m.mixer = "mha"  # spec: self-attention or what stands in its place
    m.encoder_mixer = m.get_oneway_ref("mixer")  # spec: the same in the encoder, where there is one
    m.cross_mixer = "mha"  # spec: how a decoder reads its encoder
    m.head_mask = ""  # heads removed, as data: 'decoder.attention 0.1, …' (layer.head); 'all' keeps all, as a mask
    m.ffn = "gelu"  # spec: the feed-forward sublayer
    m.norm = "layernorm"  # spec
    m.embedding = "scaled"  # spec: how tokens become vectors
    m.embedding_norm = "none"  # spec: a norm of what enters a stack, as in BERT, BART and Bloom
    m.head = "linear"  # spec: what the last vectors become: logits over tokens, or first(classes=N) over classes
    m.adapter = "none"  # spec: small matrices beside the model's, for fine-tuning: lora(rank=8)
    m.bias = False  # biases in the projections of mixers and feed-forwards
    m.tied_embeddings = True  # the output matrix is the embedding table
    m.vocab_multiple = 1  # rows of the table are rounded up to it, so that a mesh can divide them
    m.init_scale = 1.0  # factor of the initial values of all matrices inside of the stacks
    m.dropout = 0.0  # on embeddings and on every sublayer's output
    m.dtype = "float32"  # of the computation; parameters are always float32
    m.stack = "auto"  # layers: scan (compile time constant in depth), unroll, or auto (arch.resolve_stack)
    m.remat = "none"  # what is recomputed in the backward pass: none, full, dots (keeps matmul results)
    m.logits_chunks = 1  # logits are made for length / logits_chunks positions at a time; 1 holds all of them at once
    m.attention = "auto"  # spec of a kernel: auto (by platform), plain (reference), blocks, xla, cudnn
    return m


def _data() -> ConfigDict:
    d = ConfigDict()
    d.corpus = "web"  # spec: web, web_kjv, text(path=…), jsonl(…), tsv(…), huggingface(…), django_languages, copy, …
    d.tests = ""  # evaluated at the end, whole: '2x: copy(test=(11, 20)); 4x: …' are the test splits of corpora
    # spec, what a model reads and what it shall predict of a corpus. Documents: text, prefix, masked, span, ul2.
    # Pairs: pairs (source / target), prompt_answer(loss="answer" | "all"). Labelled texts: labelled.
    d.view = "text"
    d.eval_view = d.get_oneway_ref("view")  # spec: the view of valid, test and data.tests
    d.tokenizer = "byte"  # spec: byte, bpe(vocab=…), word(vocab=…), saved(path=…), huggingface(path=…), numbers(…)
    d.length = 128  # L, tokens in a row of the decoder
    d.source_length = d.get_oneway_ref("length")  # M, tokens in a row of the encoder
    d.batch_size = 16  # B, rows in the global batch of one update
    d.packed = True  # several examples share a row (segments keep them apart)
    d.workers = 0  # processes that prepare batches; their number does not change the batches
    return d


def _optim() -> ConfigDict:
    p = ConfigDict()
    p.learning_rate = 2e-3  # peak
    p.schedule = "cosine"  # spec: constant, cosine(floor=…), rsqrt, wsd(decay=…, floor=…)
    p.warmup_steps = 20  # linear from 0
    p.weight_decay = 0.1  # on matrices only
    p.b1 = 0.9
    p.b2 = 0.95
    p.eps = 1e-8
    p.clip = 1.0  # global gradient norm; 0 is off
    p.accumulate = 1  # micro-batches per update; batch_size must be a multiple
    p.trains = ""  # names of the parameters that are trained, 'decoder/*, */norm/*'; '' is all, or just an adapter's
    p.ema = 0.0  # decay of an exponential moving average of the parameters, used in evaluation; 0 is off
    return p


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks `config` in place to something that trains in seconds on a CPU; returns it."""
    model, data, train = config.model, config.data, config.train
    model.layers = model.encoder_layers = 2
    model.width = 8 * model.heads
    model.ffn_size = 2 * model.width
    model.head_size = None
    data.length, data.batch_size = min(data.length, 64), 4
    data.source_length = min(data.source_length, 64)
    train.steps, train.eval_every, train.eval_batches, train.steps_per_dispatch = 8, 4, 2, 2
    config.optim.warmup_steps, config.optim.accumulate = 2, 1
    if model.stack == "auto":
        model.stack = "scan"  # which compiles faster
    config.run.log_every, config.run.checkpoint_every = 2, 4
    return config


def check_mode(mode: str | None, *known: str) -> None:
    """For `get_config(mode)`: refuses a mode that the file does not have, which would pass as the default.

    Raises:
      UserError: naming the modes there are.
    """
    if mode is not None and mode not in known:
        raise UserError(f"unknown mode {mode!r}{nearest(mode, known)}; have {', '.join(known) or 'none'}")


def known_keys() -> list[str]:
    """Every dotted key."""
    return list(_flat(to_dict(base()), cosmetic=True))


def override(config: ConfigDict, key: str, value: object) -> None:
    """Sets the dotted `key`, which must exist, to `value`, which must be of its type.

    Raises:
      UserError: naming the key with its nearest neighbour, or the value with the accepted type.
    """
    node, leaf = leaf_of(config, key)
    try:
        # A value derived by reference stops following once it is set by hand.
        node[leaf] = value
    except (TypeError, OverflowError):
        raise UserError(f"--config.{key}={shown(value)}: give {kind_name(node.get_type(leaf))}") from None


def differences(old: dict, new: dict) -> list[str]:
    """`key: old -> new`, a line for each leaf in which two configs differ, cosmetic keys left out."""
    a, b = _flat(old), _flat(new)
    return [f"{k}: {a.get(k)!r} -> {b.get(k)!r}" for k in sorted(a | b) if a.get(k) != b.get(k)]


def fingerprint(config: ConfigDict | dict) -> str:
    """16 hex digits of everything in a config that may change what a run computes or measures, even by rounding.

    The content of data files is not in it; the manifest has its hash.
    """
    return hashlib.sha256(json.dumps(_flat(to_dict(config)), sort_keys=True).encode()).hexdigest()[:16]


def to_dict(config: ConfigDict | dict) -> dict:
    """Plain, JSON-ready dict with every reference resolved."""
    resolved = config.copy_and_resolve_references().to_dict() if isinstance(config, ConfigDict) else config
    return json.loads(json.dumps(resolved))


def from_dict(saved: dict) -> ConfigDict:
    """The config that `to_dict` wrote. Keys that have come since keep their default."""
    config = base()
    for key, value in _flat(saved, cosmetic=True).items():
        override(config, key, value)
    return config


def structure_problems(config: ConfigDict) -> list[str]:
    """What is wrong with keys, types and plain values: unknown or missing keys, wrong types, bad choices."""
    have, want = _flat(to_dict(config), cosmetic=True), _flat(to_dict(base()), cosmetic=True)
    problems = [f"unknown key {key!r}{nearest(key, want)}" for key in have.keys() - want.keys()]
    problems += [f"missing key {key!r}" for key in want.keys() - have.keys()]
    for key, choices in CHOICES.items():
        if key in have and have[key] not in choices:
            near = nearest(str(have[key]), choices)
            problems.append(f"{key}={have[key]!r}: give one of {', '.join(choices)}{near}")
    for key, value in have.items():
        kind = type(want.get(key))
        if type(value) not in _TAKES.get(kind, (type(value),)):
            problems.append(f"{key}={shown(value)}: give {kind_name(kind)}")
        if isinstance(value, int) and abs(value) > LARGEST:  # the arrays count in 32 bits
            problems.append(f"{key}: the number has more than 31 bits; give {LARGEST} at most")
        if isinstance(value, float) and not abs(value) <= GREATEST:  # NaN is not, either
            problems.append(f"{key}={value!r}: give a number that float32 holds")
        if isinstance(value, str) and len(value) > LONGEST:
            problems.append(f"{key}: the text has {len(value)} letters; give {LONGEST} at most")
    return sorted(problems)


def _flat(tree: dict, *, cosmetic: bool = False, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in tree.items():
        if not prefix and key in _COSMETIC and not cosmetic:
            continue
        if isinstance(value, dict):
            flat |= _flat(value, cosmetic=cosmetic, prefix=f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def leaf_of(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    """The section that holds the dotted `key`, and the key's last name.

    Raises:
      UserError: with the nearest key, if there is none.
    """
    *parents, leaf = key.split(".")
    node = config
    for parent in parents:
        node = node[parent] if isinstance(node, ConfigDict) and parent in node else None
        if node is None:
            break
    if not isinstance(node, ConfigDict) or leaf not in node or isinstance(node[leaf], ConfigDict):
        known = list(_flat(to_dict(config), cosmetic=True))
        raise UserError(f"unknown config key {key!r}{nearest(key, known)}")
    return node, leaf


def shown(value: object) -> str:
    """As it is shown in messages; a number may have more digits than Python writes out, a text more than one reads."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**50 else f"{value:#x}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def kind_name(kind: type) -> str:
    """What a value of this type is called in messages."""
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind, str(kind))
