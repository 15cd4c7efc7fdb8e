"""Run directories from checkpoints of Hugging Face, and back."""

import json
from collections.abc import Sequence
from pathlib import Path

import grain
import jax
from ml_collections import ConfigDict

from transformer_jax import data as data_lib
from transformer_jax.data.tokenizers.base import Marks
from transformer_jax.data.views.base import views
from transformer_jax.decode.loading import LoadedRun, load_run
from transformer_jax.errors import UserError
from transformer_jax.interop.configured import check_shapes, configured
from transformer_jax.interop.convert import Origin, export_tensors
from transformer_jax.interop.described import Described
from transformer_jax.interop.fields import read_json
from transformer_jax.interop.formats import Format, formats
from transformer_jax.interop.kept import KEPT, copy_files, keep, read_origin, write_origin
from transformer_jax.interop.pretrained import Pretrained, load_pretrained, read_config, tokenizer_for
from transformer_jax.interop.tensors import Tensors, write_tensors
from transformer_jax.interop.tokenizer_files import tokenizer_files
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.train import rundir
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.clock import Clock
from transformer_jax.train.flops import count
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loop import compiled_program

_CONFIG = '''"""The run in this directory. To train it on: train --config=DIR/config.py --workdir=DIR"""

import json
from pathlib import Path

from transformer_jax import config


def get_config(mode=None):
    config.check_mode(mode)
    return config.from_dict(json.loads(Path(__file__).with_name("config.json").read_text()))
'''


def import_run(
    source: str | Path, workdir: Path, *, overrides: dict[str, str] | None = None, ignore: Sequence[str] = ()
) -> dict[str, object]:
    """Makes a run directory at step 0 with the parameters of a checkpoint; it can be used as any other.

    Args:
      source, ignore: as for `load_pretrained`.
      overrides: dotted config key -> text; what a model is, is the checkpoint's to say.

    Returns:
      `format`, `parameters`, `tokenizer` (its spec), `kept` (names of tensors that are only kept for an export).

    Raises:
      UserError: if the checkpoint, or a key, is not supported, or `workdir` is not empty.
    """
    workdir = Path(workdir).absolute()
    _check_empty(workdir, "--workdir")
    overrides = overrides or {}
    found = load_pretrained(source, ignore=ignore, tokenizer=overrides.get("data.tokenizer", ""))
    config = configured(found, workdir, overrides)
    program = compiled_program(config, found.vocab, make_mesh(config.mesh, jax.devices()[:1]))
    check_shapes(found, program.param_shapes)
    state = program.init(program.place([Hyper.from_config(config, program.arch)]))
    params = jax.device_put(found.params, program.state_shardings.params)
    state = state.replace(params=params, ema=None if state.ema is None else jax.tree.map(lambda x: x.copy(), params))

    rundir.claim(workdir, config, made="imported")
    keep(found.directory, found.origin, workdir / KEPT)
    tokenizer = found.tokenizer if "data.tokenizer" in overrides else _tokenizer_of(found, workdir)
    tokenizer.save(workdir / "tokenizer.json")
    checkpoints = Checkpoints(workdir / "checkpoints", keep=1)
    rest = {"data": _first_state(config), "clock": Clock().state(), "pending": [], "reported": []}
    checkpoints.save(0, state, rest)
    checkpoints.close()
    # Last, so that what a kill leaves behind is no run that could be trained from other values.
    write_origin(workdir / KEPT, found.format, found.origin)
    (workdir / "config.py").write_text(_CONFIG)
    return {
        "format": found.format,
        "parameters": count(found.params),
        "tokenizer": tokenizer.spec,
        "kept": sorted(found.origin.kept),
    }


def export_run(workdir: Path, out: Path, *, format: str | None = None) -> dict[str, object]:
    """Writes config.json, safetensors and tokenizer files that transformers loads.

    A run that was imported gives its checkpoint again; if it was not trained since, byte for byte. Any other is
    written in a format that computes the same, if there is one.

    Args:
      format: such as 'gpt2'; None takes the one it came from, or the first that fits.

    Returns:
      `format`, `tensors` (how many), `step`, `tokenizer` (whether its files could be written).

    Raises:
      UserError: if no format can say what the model is, with the keys in the way, or `out` is not empty.
    """
    out = Path(out).absolute()
    _check_empty(out, "--out")
    run = load_run(workdir)
    _check_plain(run.config)
    kept = Path(workdir).absolute() / KEPT
    origin = read_origin(kept)
    params = jax.device_get(run.params)
    if origin is not None and format in (None, origin[0]):
        name, known = origin
        fields, vocab = read_json(kept / "config.json"), run.program.arch.dims.vocab
        tensors = export_tensors(formats.lookup(name)(), params, vocab, known)
        out.mkdir(parents=True, exist_ok=True)
        copy_files(kept, out)
        metadata, has_tokenizer = known.metadata, (kept / "tokenizer.json").is_file()
    else:
        chosen, fields, tensors = _expressed(run, params, format)
        fields |= _labels(fields, kept)
        name, metadata = chosen.name, {"format": "pt"}
        out.mkdir(parents=True, exist_ok=True)
        files = tokenizer_files(run.tokenizer, _marks(run))
        for file, content in files.items():
            _write_json(out / file, content)
        has_tokenizer = bool(files)
    _write_json(out / "config.json", fields)
    write_tensors(out, tensors, metadata)
    return {"format": name, "tensors": len(tensors), "step": run.step, "tokenizer": has_tokenizer}


def _tokenizer_of(found: Pretrained, workdir: Path) -> data_lib.Tokenizer:
    """The same, of which the run directory holds the files."""
    if (workdir / KEPT / "tokenizer.json").is_file():
        return tokenizer_for(workdir / KEPT, found.vocab)
    return found.tokenizer


def _first_state(config: ConfigDict):
    """Of a data iterator that has given nothing yet; it is the same for all data."""
    if config.data.workers:
        iterator = data_lib.load(config.data, config.seed).train_iterator()
    else:
        iterator = iter(grain.MapDataset.range(1).to_iter_dataset())
    state = iterator.get_state()
    iterator.close()
    return state


def _expressed(run: LoadedRun, params, name: str | None) -> tuple[Format, dict, dict]:
    """(format, fields of config.json, tensors) that compute what the run's model does."""
    if name is not None:
        formats.lookup(name)
    vocab, against = run.program.arch.dims.vocab, {}
    model = Described(run.config, vocab)
    for each in [name] if name is not None else formats.names():
        format = formats.lookup(each)()
        fields = {"model_type": each, "architectures": [format.architectures[0]], "vocab_size": vocab}
        fields |= _mark_ids(run) | format.write(model)
        try:
            tensors = export_tensors(format, params, vocab, Origin())
            tensors = format.added(model, tensors) | tensors
        except UserError as error:
            tensors, against[each] = {}, [str(error)]
        try:
            said, _ = read_config(format, fields, Tensors(tensors))
        except UserError as error:
            against[each] = str(error).splitlines()
            continue
        said.data.length, said.data.source_length = run.config.data.length, run.config.data.source_length
        differ = model.differences(Described(said, vocab))
        if not differ and tensors:
            return format, fields, tensors
        against[each] = differ or against[each]
    lines = [f"  {each}: {'; '.join(why)}" for each, why in sorted(against.items(), key=lambda item: len(item[1]))]
    raise UserError("no format can say what the model is; what is in the way, and what would do:\n" + "\n".join(lines))


def _marks(run: LoadedRun) -> Marks:
    return views.build(run.config.data.view).marks(run.tokenizer)


def _mark_ids(run: LoadedRun) -> dict[str, int | list[int]]:
    marks = _marks(run)
    ids = {"pad_token_id": marks.pad, "eos_token_id": list(marks.ends) or marks.eos, "bos_token_id": marks.start}
    return ids | ({"decoder_start_token_id": marks.start} if run.config.model.family == "encoder_decoder" else {})


def _labels(fields: dict, kept: Path) -> dict[str, object]:
    """The names of the classes, as they were called when the run was imported."""
    before = read_json(kept / "config.json") if (kept / "config.json").is_file() else {}
    named = {name: before[name] for name in ("id2label", "label2id") if name in before}
    own, theirs = (each.get("id2label") or {} for each in (fields, named))
    return named if own and len(own) == len(theirs) else {}


def _check_plain(config: ConfigDict) -> None:
    """What is put on a model and is no part of it."""
    if config.model.head_mask not in ("", "all"):
        raise UserError(
            f"model.head_mask={config.model.head_mask!r}: no format has it; `inspect prune` takes heads out"
        )
    if config.model.adapter != "none":
        raise UserError(f"model.adapter={config.model.adapter!r}: no format has it; merge it first")


def _check_empty(directory: Path, flag: str) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{flag}={directory} is not an empty directory; give a new one")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
