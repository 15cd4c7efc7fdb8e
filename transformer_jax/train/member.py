"""`Member`: one run of those that train together: its directory, its place in the data, what it has reached."""

import hashlib
import json
import math
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax.batch import Batch, real_tokens
from transformer_jax.data import Data
from transformer_jax.files import write_json
from transformer_jax.objective import Loss
from transformer_jax.parallel import distributed
from transformer_jax.parallel.share import Share
from transformer_jax.train import rundir
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluation import summarise
from transformer_jax.train.metrics import Metrics, Silent
from transformer_jax.train.rewind import Watch
from transformer_jax.train.step import StepMetrics


class Member:
    """A run that trains, alone or with others.

    Attributes:
      slot: its place in the population.
      result: of result.json; None while it trains.
      last_eval: (step, metrics of the valid split), None before the first evaluation.
      stopped_early: whether patience ran out.
      counted: what its updates have read so far: `tokens` (of all sides, without padding), `targets` in the loss, and
        the `bytes` of text that these stand for. Of what this process has loaded since `settle` was called, its own
        rows alone.
      read: tokens of the last `batches`, of this process's own rows.
      owes_evaluation: whether the checkpoint that was restored was made in the middle of one.
    """

    def __init__(self, config: ConfigDict, workdir: Path, data: Data, slot: int, share: Share | None = None):
        self.config, self.workdir, self.data, self.slot, self.share = config, workdir, data, slot, share
        self.result: dict | None = None
        self.last_eval: tuple[int, dict[str, float]] | None = None
        self.stopped_early = False
        self.counted = {"tokens": 0, "targets": 0, "bytes": 0}
        self.read, self.owes_evaluation = 0, False
        self._fresh = dict.fromkeys(self.counted, 0)
        self._best: float | None = None  # valid loss
        self._worse = 0  # evaluations since the best one
        self._judged = 0  # the step of the last one
        self._pending: list[StepMetrics] = []  # not logged yet, of this run alone, numpy; restored ones only
        self.watch = Watch.of(config)
        self.changes: list[str] = []  # what is not as when the run was begun, a line each
        self._drawn = 0  # batches, those that were skipped after a rewind included

    @property
    def active(self) -> bool:
        return self.result is None

    def open(self, manifest: dict) -> None:
        """Opens what an active member writes to, and puts down what explains it. The workdir's lock is held."""
        self.checkpoints = Checkpoints(self.workdir / "checkpoints", self.config.run.keep_checkpoints)
        self._iterator = self.data.train_iterator(None if self.share is None else self.share.index_R)
        if not distributed.is_first():
            self.metrics = Silent()
            return
        self.data.tokenizer.save(self.workdir / "tokenizer.json")
        rundir.write_manifest(self.workdir, manifest)
        self.metrics = Metrics(self.workdir, self.config.run.tensorboard)

    def close(self) -> None:
        for name in ("_iterator", "checkpoints", "metrics"):
            if hasattr(self, name):
                getattr(self, name).close()

    def batches(self, updates: int) -> Batch:
        """The next `updates` global batches, stacked on a leading axis T: the rows of them that this process needs."""
        batches_TBL = jax.tree.map(lambda *xs: np.stack(xs), *[next(self._iterator) for _ in range(updates)])
        own_TRL = batches_TBL
        if self.share is not None:
            own_TRL = jax.tree.map(lambda x: x[:, self.share.owned_R], batches_TBL)
        counted_TRL = own_TRL.weights_BL > 0
        self.read = real_tokens(own_TRL)
        self._drawn += updates
        self._fresh["tokens"] += self.read
        self._fresh["targets"] += int(np.count_nonzero(counted_TRL))
        self._fresh["bytes"] += int(own_TRL.bytes_BL[counted_TRL].sum(dtype=np.int64))
        return batches_TBL

    def settle(self) -> dict[str, int]:
        """`counted`, with what all processes have read until now."""
        fresh, self._fresh = distributed.summed(self._fresh), dict.fromkeys(self._fresh, 0)
        self.counted = {name: count + fresh[name] for name, count in self.counted.items()}
        return self.counted

    def restore(self, structs, step: int, *, rewinds: bool = False):
        """The state at `step`; the data goes on from there. Returns (state, state of the clock).

        Args:
          rewinds: the data stay where they are, so that the batches since `step` are skipped.
        """
        state, rest = self.checkpoints.restore(structs, step)
        if not rewinds:
            self._place_data(rest, step)
        if self.watch is not None:
            self.watch.resume(rest.get("watch", {}), step)
        reported = dict.fromkeys(rest.get("reported", ()), 0)
        tree = jax.tree.structure(StepMetrics(Loss(*[0] * 5), 0, 0, reported))
        self._pending = [jax.tree.unflatten(tree, map(_as_counted, leaves)) for leaves in rest["pending"]]
        if rest.get("config", config_lib.fingerprint(self.config)) != config_lib.fingerprint(self.config):
            self._pending = []  # another model may report other things
        self.counted = rest.get("counted", self.counted)
        self._best, self._worse, self._judged = rest.get("patience", (None, 0, 0))
        self.owes_evaluation = rest.get("owes_evaluation", False)
        self._lose_patience(step)
        return state, rest["clock"]

    def go_back(self, structs, spike: dict):
        """The state of the newest checkpoint, made before the spike; the data stay where they are.

        Returns:
          (state, what is recorded of it).
        """
        done, step = self.watch.done, self.checkpoints.latest
        state, _ = self.restore(structs, step, rewinds=True)
        told = self.watch.went_back(done, spike, step)
        if distributed.is_first():
            rundir.record_rewinds(self.workdir, self.watch.done)
        return state, told

    def _place_data(self, rest: dict, step: int) -> None:
        """Where the checkpoint left them; at the same number of batches, if they are not the same data."""
        self._drawn = rest.get("drawn", step)
        if rest.get("data_of", self._data_of) == self._data_of:
            self._iterator.set_state(rest["data"])
            return
        for _ in range(self._drawn):
            next(self._iterator)

    @property
    def _data_of(self) -> str:
        """What decides the batches."""
        told = [config_lib.to_dict(self.config)["data"], self.config.seed, self.data.identity]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def save(self, step: int, state, pending: list[StepMetrics], clock: dict, owes_evaluation: bool = False) -> None:
        """Writes a checkpoint; `pending` are the metrics that have not been logged yet. Older ones stay."""
        pending = [*self._pending, *pending]
        rest = {
            "data": self._iterator.get_state(),
            "data_of": self._data_of,
            "drawn": self._drawn,
            "config": config_lib.fingerprint(self.config),
            "watch": {} if self.watch is None else self.watch.state(),
            "clock": clock,
            "pending": [[x.tolist() for x in jax.tree.leaves(each)] for each in pending],
            "reported": sorted(pending[0].reported) if pending else [],
            "counted": self.settle(),
            "owes_evaluation": owes_evaluation,
            "patience": [self._best, self._worse, self._judged],
        }
        self.metrics.sync()
        self.checkpoints.save(step, state, rest)

    def summary(self, fetched: list[StepMetrics]) -> dict[str, float]:
        """Means over the updates since the last summary, as `train/…`."""
        fetched, self._pending = [*self._pending, *fetched], []
        sums = jax.tree.map(lambda *xs: np.sum(np.concatenate(xs), dtype=np.float64), *[m.loss for m in fetched])
        values = {f"train/{name}": value for name, value in summarise(sums).items()}
        values["train/grad_norm"] = float(np.mean(np.concatenate([m.grad_norm for m in fetched])))
        for name in fetched[0].reported:
            values[f"train/{name}"] = float(np.mean(np.concatenate([m.reported[name] for m in fetched])))
        return values

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Takes note of an evaluation on the valid split, and of whether patience has run out."""
        self.last_eval = (step, {f"valid/{name}": value for name, value in values.items()})
        if step > self._judged:  # and not once more after a kill
            better = math.isfinite(values["loss"]) and (self._best is None or values["loss"] < self._best)
            self._best, self._worse = (values["loss"], 0) if better else (self._best, self._worse + 1)
            self._judged = step
        self._lose_patience(step)

    def _lose_patience(self, step: int) -> None:
        patience = self.config.train.patience
        self.stopped_early = bool(patience) and self._worse >= patience and step < self.config.train.steps

    def finish(self, result: dict) -> None:
        """Ends the run: result.json is the last thing written."""
        if distributed.is_first():
            write_json(self.workdir / "result.json", result)
        self.result = result


def _as_counted(saved: list) -> np.ndarray:
    """What the devices have counted as it was before it was saved: means of other precision would differ."""
    values = np.asarray(saved)
    return values.astype(np.float32) if values.dtype == np.float64 else values
