"""`train.init_from`: initial values from a run directory, or from a Hugging Face checkpoint."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax import data as data_lib
from transformer_jax.errors import UserError
from transformer_jax.model.adapter import of_adapter
from transformer_jax.model.arch import Arch
from transformer_jax.parallel import distributed
from transformer_jax.train import rundir, verify
from transformer_jax.train.checkpoint import restore_newest
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.program import Program
from transformer_jax.train.step import Recipe, Step, TrainState

# Keys of the model section that say how a model is trained or computed, or what is put on it, not what it is.
_MAY_DIFFER = ("adapter", "head", "tied_embeddings", "vocab_multiple", "init_scale", "dropout", "head_mask")
_MAY_DIFFER += ("dtype", "stack", "remat", "attention", "logits_chunks")


@dataclasses.dataclass(frozen=True)
class Source:
    """What `train.init_from` names.

    Attributes:
      params: nested dicts of arrays.
      step: of a run; None for other checkpoints.
    """

    config: ConfigDict
    params: dict
    tokenizer: data_lib.Tokenizer
    step: int | None = None


@dataclasses.dataclass(frozen=True)
class Initial:
    """Initial values for the runs of one program; without `taken` they all begin from their seeds.

    Attributes:
      taken: the values by name.
      report: what is to be known about them, JSON-ready: source, sha256 of all of its parameters, its step, and the
        names of the parameters that are fresh.
      lines: the same in words.
    """

    taken: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    report: Mapping[str, object] = dataclasses.field(default_factory=dict)
    lines: tuple[str, ...] = ()

    @property
    def manifest(self) -> dict:
        """What a run's manifest says of it; nothing if the run begins from its seed."""
        return {"initial": dict(self.report)} if self.report else {}

    def check(self, workdir: Path) -> None:
        """Refuses to go on with a run whose source has changed since it was begun.

        Raises:
          UserError: with what was and what is.
        """
        path = Path(workdir) / "manifest.json"
        if not (self.report and path.is_file()):
            return
        before = json.loads(path.read_text()).get("initial", self.report)
        if before["sha256"] != self.report["sha256"]:
            keys = ("sha256", "step")
            changes = [f"{key}: {before.get(key)} -> {self.report[key]}" for key in keys]
            raise UserError(
                f"train.init_from={self.report['source']!r} has other parameters than when the run in {workdir} was "
                "begun:\n  " + "\n  ".join(changes)
            )

    def into(self, program: Program, state: TrainState) -> TrainState:
        """A fresh state with the values taken; every member of a population gets the same.

        Raises:
          UserError: if they have not been read, because there were checkpoints to go on from, which do not verify.
        """
        if self.report and not self.taken:
            raise UserError(
                f"no checkpoint verifies, and train.init_from={self.report['source']!r} was not read: give another "
                "workdir"
            )
        if not self.taken:
            return state

        def place(path, fresh):
            value = self.taken.get(_name(path))
            if value is None:
                return fresh
            return distributed.put(np.broadcast_to(value, fresh.shape), fresh.sharding)

        params = jax.tree_util.tree_map_with_path(place, state.params)
        return state.replace(params=params, ema=None if state.ema is None else jax.tree.map(jnp.copy, params))


def initial_of(
    config: ConfigDict, program: Program, tokenizer: data_lib.Tokenizer, workdirs: Sequence[Path] = ()
) -> Initial:
    """What the run of `config` begins from, checked against its model and tokenizer.

    Args:
      workdirs: if all of them hold a checkpoint, the source is not read: they go on without it.

    Raises:
      UserError: if the source cannot be read, has another tokenizer, or parameters that the model cannot take.
    """
    if not config.train.init_from:
        return Initial()
    if workdirs and all(verify.begun(each / "checkpoints") for each in workdirs):
        return Initial(report=json.loads((workdirs[0] / "manifest.json").read_text())["initial"])
    try:
        source = read_source(config.train.init_from)
    except UserError as error:
        raise UserError(f"train.init_from={config.train.init_from!r}: {error}") from None
    _check_tokenizers(config.train.init_from, source.tokenizer, tokenizer)
    taken, report = initial_params(config, source, program.param_shapes)
    fresh = report["fresh"]
    lines = [f"initial values: {len(taken)} parameters of {config.train.init_from}"]
    if source.step is not None:
        lines[0] += f", step {source.step}"
    if fresh:
        lines.append(f"fresh, as the source has none of them or another head: {', '.join(fresh)}")
    differ = _model_differences(source.config, config)
    if differ:
        lines.append(f"the models differ in more than parameters: {', '.join(differ)} (source -> run)")
    return Initial(taken, report | {"step": source.step, "differences": differ}, tuple(lines))


def initial_params(config: ConfigDict, source: Source, structs) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """(values by name, report): the source's parameters that a model takes.

    A parameter is taken if the model has one of its name and shape. What the source lacks stays fresh. The head may be
    another one: its parameters are taken if all of them fit, and left otherwise.

    Args:
      structs: the model's parameters as anything with shapes.

    Raises:
      UserError: naming each parameter of the source that the model has no place for.
    """
    wanted = {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(structs)}
    given = {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(source.params)}
    same_head = all(wanted.get(name) == value.shape for name, value in given.items() if _of_head(name))
    problems, taken = [], {}
    for name, value in given.items():
        if wanted.get(name) == value.shape and (same_head or not _of_head(name)):
            taken[name] = value
        elif not _of_head(name):
            has = f"{wanted[name]}" if name in wanted else "none"
            problems.append(f"{name}: {value.shape} in the source, {has} in the model{_hint(name, config)}")
    if problems:
        raise UserError(
            f"train.init_from={config.train.init_from!r} has parameters that the model cannot take; only the head may "
            "differ:\n  " + "\n  ".join(problems)
        )
    fresh = sorted(wanted.keys() - taken.keys())
    return taken, {"source": config.train.init_from, "sha256": params_sha256(given), "fresh": fresh}


def read_source(name: str) -> Source:
    """The newest parameters of a run directory (averaged ones if it keeps them), or of a Hugging Face checkpoint.

    Args:
      name: a run directory, or what `interop.load_pretrained` takes.

    Raises:
      UserError: if it is neither, or cannot be read.
    """
    workdir = Path(name).absolute()
    if not (workdir / "checkpoints").is_dir():
        from transformer_jax.interop import load_pretrained

        found = load_pretrained(name)
        return Source(found.config, found.params, found.tokenizer)
    config = rundir.read_config(workdir)
    tokenizer = data_lib.load_tokenizer(workdir / "tokenizer.json")
    vocab = data_lib.vocab_size_of(config.data, tokenizer)
    step = Step(Arch.from_config(config, vocab=vocab, platform="cpu"), Recipe.from_config(config))
    shapes = jax.eval_shape(step.init, Hyper(jax.random.key(0), *[1.0] * 5))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
    state, at = restore_newest(workdir / "checkpoints", structs)
    return Source(config, jax.device_get(state.params if state.ema is None else state.ema), tokenizer, at)


def params_sha256(params: Mapping[str, np.ndarray]) -> str:
    """Of names, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(params.items()):
        digest.update(f"{name} {value.shape} {value.dtype}\0".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _check_tokenizers(name: str, source: data_lib.Tokenizer, own: data_lib.Tokenizer) -> None:
    if source.sha256 != own.sha256:
        raise UserError(
            f"train.init_from={name!r} was trained with another tokenizer ({source.spec}, {source.vocab_size} tokens, "
            f"sha256 {source.sha256[:12]}) than data.tokenizer gives ({own.spec}, {own.vocab_size} tokens, sha256 "
            f"{own.sha256[:12]}): its token ids would mean something else"
        )


def _model_differences(source: ConfigDict, own: ConfigDict) -> list[str]:
    """What the models differ in that parameters do not show, such as the base of a rotation."""
    models = (config_lib.to_dict(each)["model"] for each in (source, own))
    return config_lib.differences(*({k: v for k, v in each.items() if k not in _MAY_DIFFER} for each in models))


def _hint(name: str, config: ConfigDict) -> str:
    if of_adapter(name):
        return "; merge the source's adapter first"
    if name == "embedding/table":
        return f" (rows are tokens, rounded up to model.vocab_multiple={config.model.vocab_multiple})"
    return ""


def _of_head(name: str) -> bool:
    """The output matrix lies in the embedding, where it is not the table."""
    return name.startswith("head/") or name == "embedding/out"


def _name(path) -> str:
    return "/".join(part.key for part in path)
