"""What must hold of any config: it is refused by name, or planned and trained; nothing crashes later."""

import json
import math
import re
import tempfile
from pathlib import Path

import jax
import numpy as np

from transformer_jax import config as config_lib
from transformer_jax import config_file, data
from transformer_jax.errors import UserError
from transformer_jax.evaluate.answers import score
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.plan.planning import plan
from transformer_jax.train.evaluation import place
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loop import compiled_program, train_together
from transformer_jax.validate import check_classes, validate

HERE = Path(__file__).parent
# What is stepped here at most. A larger config is planned only: it is valid, and not for this machine.
_BYTES, _FLOPS, _STEPS, _BATCHES = 3e8, 3e9, 10, 50


# What another key decides unless it is given; a saved config gives everything.
_FOLLOWS = {
    "data.eval_view": "data.view",
    "data.source_length": "data.length",
    "model.encoder_layers": "model.layers",
    "model.encoder_mixer": "model.mixer",
}


class Broken(AssertionError):
    """The property does not hold."""


def check(case: dict, *, steps: bool = True) -> tuple[str, str]:
    """What became of a case: (outcome, details).

    Outcomes: 'refused', with the key; 'refused by the data', of which is said what it holds; 'stepped'; 'trained';
    'planned', with why it was not stepped.

    Raises:
      Broken: if a message names no key, a plan says something else than `validate`, or a loss is not a number and
        no update was counted as skipped. Whatever else is raised is a fault, too.
    """
    try:
        config = made(case)
        validate(config, n_devices=case["devices"])
    except UserError as error:
        return "refused", _named(str(error), case)
    try:
        found = _plan(config, case)
    except UserError as error:
        if "data.tokenizer=" not in str(error):  # whose size may be that of a file
            raise Broken(f"validate takes what plan refuses: {error}") from None
        found = str(error)
    if found:
        return "refused by the data", _named(found, case)
    why = _too_large(config, case)
    if why or not steps:
        return "planned", why or "not asked to step"
    try:
        loaded = data.load(config.data, config.seed, context=_mesh(config, case).shape["context"])
        check_classes(config, loaded)
        program = compiled_program(config, loaded.vocab_size, _mesh(config, case))
        _ = program.state_shardings  # the vocabulary is known now, and may not divide
    except UserError as error:
        return "refused by the data", _named(str(error), case)
    if case["whole"] or config.train.answers or config.train.init_from:
        return _train(config, case)
    return "stepped", _step(config, loaded, program)


def made(case: dict):
    """The config of a case, the way in which it is given."""
    changes = {
        key: value.replace("{here}", str(HERE)) if isinstance(value, str) else value
        for key, value in case["changes"].items()
    }
    return _ENTRIES[case["entry"]](changes)


def _saved(changes: dict):
    """From the config.json of a run directory."""
    saved = config_lib.to_dict(config_lib.base())
    followed = {key: changes[leader] for key, leader in _FOLLOWS.items() if leader in changes}
    for key, value in {**followed, **changes}.items():
        *parents, leaf = key.split(".")
        node = saved
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                node = {}  # as good as another value
        node[leaf] = value
    return config_lib.from_dict(json.loads(json.dumps(saved)))


def _flags(changes: dict):
    """From a config file and flags."""
    flags = [f"--config.{key}={_text(value)}" for key, value in changes.items()]
    config = config_lib.base()
    for key, text in config_file.overrides_from(flags).items():
        config_lib.override(config, key, config_file.parse(config, key, text))
    return config


def _text(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # so many digits are not written out
        return hex(value)


def _python(changes: dict):
    """From a config file that sets them."""
    lines = ["from math import inf, nan", "from transformer_jax.config import base", "def get_config(mode):"]
    lines.append("    c = base()")
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        place = "c" + "".join(f"[{each!r}]" for each in parents)
        lines.append(f"    {place}[{leaf!r}] = {_text(value) if isinstance(value, int) else repr(value)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.py"
        path.write_text("\n".join([*lines, "    return c", ""]))
        return config_file.load(str(path))


_ENTRIES = {"saved": _saved, "flags": _flags, "python": _python}


def _named(message: str, case: dict) -> str:
    """The key that a message names.

    Raises:
      Broken: if there is none, or the message is longer than anyone reads.
    """
    if len(message) > 20_000:
        raise Broken(f"a message of {len(message)} letters: {message[:500]}")
    for key in config_lib.known_keys():
        if key in message:
            return key
    if "mesh=" in message:
        return "mesh"
    if message.startswith("corpus '"):  # with its spec: content that cannot be used
        return "data.corpus"
    for key in set(case["changes"]) - set(config_lib.known_keys()):
        if repr(key) in message or repr(key.split(".")[0]) in message or "unknown config key" in message:
            return "unknown key"
    if case["entry"] == "python" and re.search(r"config\.py:\d+: ", message):
        return "a line of the config file"
    raise Broken(f"names no key: {message}")


def _plan(config, case: dict) -> str:
    """Why the plan refuses the own mesh: only for the size of the vocabulary, which `validate` does not know."""
    found = plan(config, f"cpu:{case['devices']}")
    if found.own is None:
        if not all("model.vocab_multiple" in line for line in found.refused):
            raise Broken(f"validate takes what plan refuses: {found.refused}")
        return "; ".join(found.refused)
    json.dumps(found.as_dict())
    case["bytes"], case["flops"] = found.own.held.total * case["devices"], found.flops["executed"]
    if case["machine"] != f"cpu:{case['devices']}":
        try:
            json.dumps(plan(config, case["machine"]).as_dict())
        except UserError as error:
            _named(str(error), case)
    return ""


def _too_large(config, case: dict) -> str:
    t, run = config.train, config.train.init_from or config.train.answers or case["whole"]
    return (
        (not case["bytes"] < _BYTES and "memory")
        or (not case["flops"] < _FLOPS and "FLOPs")
        or (config.data.workers > 1 and "processes")
        or (run and (t.steps > _STEPS or t.steps_per_dispatch > _STEPS or t.eval_batches > _BATCHES) and "steps")
        or ""
    )


def _mesh(config, case: dict):
    return make_mesh(config.mesh, jax.devices()[: case["devices"]])


def _step(config, loaded, program) -> str:
    """One update on the first batch."""
    hyper = program.place([Hyper.from_config(config, program.arch)])
    state, batches = program.init(hyper), loaded.train_iterator()
    try:
        batch = jax.tree.map(lambda x: np.stack([x]), next(batches))
    finally:
        batches.close()
    state, metrics = program.train(state, place(program, batch, leading=1), hyper)
    sums, applied, skipped = jax.device_get((metrics.loss, metrics.applied, state.skipped))
    loss = float(np.sum(sums.nats) / max(np.sum(sums.tokens), 1))
    if not math.isfinite(loss) and int(skipped) != 1:
        raise Broken(f"a loss of {loss}, and {skipped} updates counted as skipped")
    return f"loss {loss:.3g}, {int(np.sum(applied))} applied"


def _train(config, case: dict) -> tuple[str, str]:
    """To the end, or refused before the first update."""
    with tempfile.TemporaryDirectory() as folder, open("/dev/null", "w") as nowhere:
        workdir = Path(folder) / "run"
        devices = jax.devices()[: case["devices"]]
        try:
            (result,) = train_together([config], [workdir], progress_file=nowhere, devices=devices, score=score)
        except UserError as error:
            if workdir.exists():
                raise Broken(f"refused after the directory was made: {error}") from None
            return "refused by the data", _named(str(error), case)
        if result["status"] == "diverged" and result["skipped"] == 0 and not result["rewinds"]:
            return "trained", "diverged"
        return "trained", result["status"]
