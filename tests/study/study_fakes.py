"""A trainer that trains nothing, and the studies that the tests run with it."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

from transformer_jax import config
from transformer_jax.study import Goal, Grid, Study, param
from transformer_jax.study.trials import flat

METRIC = "valid/bits_per_byte"


def study(grid: Grid | None = None, **changes: object) -> Study:
    grid = grid or param("model.heads", [4, 1, 2])
    fields = {
        "name": "fake",
        "question": "Does the number of heads matter?",
        "base": config.base(),
        "grid": grid,
        "baseline": grid.labels[0],
        "seeds": 3,
        "goal": Goal(METRIC, "min"),
    }
    return Study(**(fields | changes))


class FakeTrainer:
    """Writes what `train_together` writes. The metric is a baseline, what the seed shares, an effect and noise.

    `calls` has what was trained, `rounds_seen` with whom, both as (heads, seed).

    Args:
      effects: number of heads -> what it adds to the metric.
      broken: (heads, seed) -> an exception to raise, or 'diverged'.
      inapplicable: number of heads -> why '4x/exact_match' does not apply to it.
      also: what else it adds, given the config.
    """

    def __init__(
        self,
        effects: dict[int, float] | None = None,
        broken: dict | None = None,
        inapplicable: dict[int, str] | None = None,
        also: Callable[[config.ConfigDict], float] = lambda trial: 0.0,
    ):
        self.also = also
        self.effects, self.broken, self.inapplicable = effects or {}, broken or {}, inapplicable or {}
        self.calls: list[tuple[int, int]] = []
        self.rounds_seen: list[list[tuple[int, int]]] = []

    def __call__(self, trials: list[config.ConfigDict], workdirs: list[Path]) -> None:
        self.rounds_seen.append([(trial.model.heads, trial.seed) for trial in trials])
        for trial, workdir in zip(trials, workdirs, strict=True):
            if not (workdir / "result.json").is_file():
                self.train(trial, workdir)

    def train(self, trial: config.ConfigDict, workdir: Path) -> None:
        key = (trial.model.heads, trial.seed)
        self.calls.append(key)
        (workdir / "config.json").write_text(json.dumps(config.to_dict(trial)))
        trouble = self.broken.get(key)
        if isinstance(trouble, BaseException):
            raise trouble
        noise = random.Random(json.dumps(flat(trial))).gauss(0, 0.01)
        value = 2.5 + random.Random(trial.seed).gauss(0, 0.1) + self.effects.get(trial.model.heads, 0.0) + noise
        value += self.also(trial)
        with (workdir / "metrics.jsonl").open("w") as file:
            for step in (10, 20, 30):
                file.write(json.dumps({"step": step, "train/loss": value + 1 / step}) + "\n")
                file.write(json.dumps({"step": step, METRIC: value + 1 / step}) + "\n")
            file.write('{"step": 30, "torn')
        diverged = trouble == "diverged" or not math.isfinite(value)
        reason = self.inapplicable.get(trial.model.heads)
        metrics = {METRIC: value, "valid/loss": value * 0.69, "4x/exact_match": None if reason else 1 / value}
        if trial.train.test_batches:
            metrics["test/bits_per_byte"] = value
        result = {
            "status": "diverged" if diverged else "finished",
            "step": 30,
            "parameters": 1000 + trial.model.heads,
            "tokens_per_second": 100.0 * trial.model.heads,
            "seconds": 1.0,
            "flops_per_token": 6000.0,
            "skipped": 0,
            "metrics": {} if diverged else metrics,
            "not_applicable": {"4x": reason} if reason else {},
        }
        (workdir / "result.json").write_text(json.dumps(result))
        (workdir / "manifest.json").write_text(json.dumps({"versions": {"jax": "0.10.2"}, "devices": ["cpu"]}))


def accept(trial: config.ConfigDict) -> None:
    """A validator that refuses nothing."""
