"""From a run directory: its heads ranked, removed one after the other, and pruned."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from transformer_jax import config as config_lib
from transformer_jax import data as data_lib
from transformer_jax.decode.generator import LoadedRun, load_run
from transformer_jax.errors import UserError
from transformer_jax.files import check_links, write_json
from transformer_jax.inspect.heads import importance, leave_one_out, removal_curve
from transformer_jax.inspect.prune import prune
from transformer_jax.model.heads import Head, heads_in, present, without
from transformer_jax.train import rundir
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.clock import Clock
from transformer_jax.train.flops import count
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loop import compiled_program

RANDOM_ORDERS = 3


@dataclass(frozen=True)
class HeadReport:
    """What the heads of a trained model are worth.

    Attributes:
      split, examples: what was measured on; rankings on the one half of it, losses on the other.
      importance, leave_one_out: by head (`inspect.heads`).
      curves: by order of removal, the loss with 0, 1, 2, … heads removed; 'random' holds several.
    """

    split: str
    examples: int
    importance: dict[Head, float]
    leave_one_out: dict[Head, float]
    curves: dict[str, list[list[float]]]

    def order(self, by: str) -> list[Head]:
        """The heads, the least needed first, by 'importance' or 'leave_one_out'."""
        scores = {"importance": self.importance, "leave_one_out": self.leave_one_out}[by]
        return sorted(scores, key=scores.__getitem__)


def inspect_heads(workdir: Path, *, split: str, batches: int) -> HeadReport:
    """Ranks the heads of a run in two ways, removes them in these and in random orders; writes heads.json.

    Heads are ranked on every second batch and the losses of the curves are measured on the others, so that no
    order looks good by chance.

    Args:
      batches: of the split, at most; 0 is all.

    Raises:
      UserError: if the model has no heads or was trained with a mask, or the split has too few rows.
    """
    check_links(workdir)
    run = _load_unmasked(workdir)
    model, heads = run.program.model, heads_in(present(run.program.arch))
    if not heads:
        raise UserError(f"{workdir}: model.mixer={run.config.model.mixer!r} has no heads")
    found = list(_data_of(run, workdir).eval_batches(split, batches))
    if len(found) < 2:
        raise UserError(f"split {split!r}: {len(found)} batch, and ranking and measuring take one each at least")
    ranked_on, measured_on = found[::2], found[1::2]
    by_gradient = importance(model, run.params, ranked_on)
    by_loss = leave_one_out(model, run.params, ranked_on)
    rng = np.random.default_rng(0)
    orders = {
        "importance": [sorted(by_gradient, key=by_gradient.__getitem__)],
        "leave_one_out": [sorted(by_loss, key=by_loss.__getitem__)],
        "random": [[heads[i] for i in rng.permutation(len(heads))] for _ in range(RANDOM_ORDERS)],
    }
    curves = {
        name: [removal_curve(model, run.params, measured_on, order).tolist() for order in several]
        for name, several in orders.items()
    }
    report = HeadReport(split, sum(len(batch.tokens_BL) for batch in found), by_gradient, by_loss, curves)
    write_json(workdir / "heads.json", _as_json(report, run))
    return report


def prune_run(workdir: Path, out: Path, *, keep: int, by: str, split: str, batches: int) -> dict[str, object]:
    """A new run directory with the `keep` heads that are needed most; its model can be used as any other.

    Returns:
      `kept` and `parameters` of both models, and `difference`, the largest between their logits on a batch.

    Raises:
      UserError: if `keep` is out of range, `out` is not empty, or the run was trained with a mask.
    """
    out = Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out={out} {'is not empty' if out.is_dir() else 'is a file'}; give a new directory")
    run = _load_unmasked(workdir)
    model, everything = run.program.model, present(run.program.arch)
    heads = heads_in(everything)
    if not 0 <= keep < len(heads):
        raise UserError(f"--keep={keep}: the model has {len(heads)} heads; give 0 to {len(heads) - 1}")
    data = _data_of(run, workdir)
    found = list(data.eval_batches(split, batches))
    scores = {"importance": importance, "leave_one_out": leave_one_out}[by](model, run.params, found)
    removed = sorted(scores, key=scores.__getitem__)[: len(heads) - keep]
    masks = without(everything, removed)
    config, params = prune(run.config, run.params, masks, vocab=run.program.arch.dims.vocab)

    program = compiled_program(config, run.program.arch.dims.vocab, run.program.mesh)
    state = program.init(program.place([Hyper.from_config(config, program.arch)]))
    state = state.replace(params=jax.device_put(params, program.state_shardings.params), step=state.step + run.step)
    state = state.replace(ema=None if state.ema is None else state.params)
    rundir.claim(out, config, made="pruned")
    run.tokenizer.save(out / "tokenizer.json")
    iterator = data.train_iterator()
    checkpoints = Checkpoints(out / "checkpoints", keep=1)
    # As a run leaves it that has just begun with its data, so that it could be trained on.
    rest = {"data": iterator.get_state(), "clock": Clock().state(), "pending": [], "reported": []}
    checkpoints.save(run.step, state, rest)
    checkpoints.close()
    iterator.close()
    difference = _largest_difference(model, run.params, masks, program.model, params, found[0])
    told = {"heads": len(heads), "kept": keep, "by": by, "removed": [str(head) for head in removed]}
    told |= {"parameters": [count(run.params), count(params)], "difference": difference}
    write_json(out / "pruned.json", told | {"from": config_lib.fingerprint(run.config), "step": run.step})
    return told


def _load_unmasked(workdir: Path) -> LoadedRun:
    run = load_run(workdir)
    if run.config.model.head_mask not in ("", "all"):
        raise UserError(
            f"{workdir}: it was trained with model.head_mask={run.config.model.head_mask!r}, and heads are ranked "
            "among all that a model has"
        )
    return run


def _data_of(run: LoadedRun, workdir: Path):
    data = data_lib.load(run.config.data, run.config.seed)
    rundir.check_data(Path(workdir), data.identity)
    return data


def _largest_difference(model, params, masks, small_model, small_params, batch) -> float:
    masked = jax.jit(lambda p, b, m: model.apply({"params": p}, b, heads=m))(params, batch, masks)
    pruned = jax.jit(lambda p, b: small_model.apply({"params": p}, b))(small_params, batch)
    real = batch.segments_BL > 0
    return float(np.abs(np.asarray(masked)[real] - np.asarray(pruned)[real]).max())


def _as_json(report: HeadReport, run: LoadedRun) -> dict:
    return {
        "step": run.step,
        "split": report.split,
        "rows": report.examples,
        "importance": {str(head): value for head, value in report.importance.items()},
        "leave_one_out": {str(head): value for head, value in report.leave_one_out.items()},
        "curves": report.curves,
    }
