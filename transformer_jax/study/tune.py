"""A recipe key chosen for each variant before the study: the runs that try its values, and the choice among them.

Every variant, the baseline included, is trained with every value, with seeds that the study itself does not use. The
best mean on the valid split wins; the study is then decided on another split, which no choice has seen.
"""

from collections.abc import Sequence
from statistics import mean

from transformer_jax.errors import UserError
from transformer_jax.study.budget import tokens_per_update
from transformer_jax.study.store import DIVERGED, FINISHED, Run
from transformer_jax.study.study import Study
from transformer_jax.study.trials import Extra, Trial, slug, trial

# Run i of a value has seed base.seed + SEEDS_FROM + i; a study has fewer seeds than this.
SEEDS_FROM = 10_000


def trials(study: Study, extra: Extra | None = None) -> list[Trial]:
    """The runs that try the values, seed by seed. Neither the test split nor the sets of `data.tests` are read.

    Args:
      extra: what a budget sets for each variant.

    Raises:
      UserError: if a value does not fit its key.
    """
    made, start = [], study.base.seed + SEEDS_FROM
    for seed in range(start, start + study.tune.seeds):
        for point in study.grid:
            for value in study.tune.values:
                changes = {study.tune.key: value, "train.test_batches": 0, "data.tests": ""}
                changes = dict((extra or {}).get(point.label, {})) | changes
                made.append(trial(study, point, seed, changes, _stem(point.label, value)))
    return made


def choose(study: Study, runs: Sequence[Run]) -> tuple[dict[str, dict[str, object]], dict]:
    """(label -> {key: value}, the record of it), from what `trials` measured.

    The mean over the seeds decides, by the goal's metric on the valid split and in the goal's direction. A value with
    a run that diverged or measured nothing is out (score None); one that failed is to be trained again first. Of equal
    values the first one of `tune.values` is taken.

    The record has for each variant its `value`, the `scores` by value, and `edge`: whether the best value is the
    smallest or the largest one of all that were tried, so that a better one may lie beyond. Its cost is that of all
    the runs: how many, the seconds of training that they report, and `training_flops`: FLOPs per token times tokens
    per update (padding included) times updates.

    Raises:
      UserError: if a run has not been trained yet or failed, or a variant is left without a value.
    """
    tune, chosen = study.tune, {}
    metric = "valid/" + study.goal.metric.partition("/")[2]
    sign = {"min": 1.0, "max": -1.0}[study.goal.direction]
    for point in study.grid:
        scores = {value: _score(_of(runs, point.label, value), metric) for value in tune.values}
        left = [value for value in tune.values if scores[value] is not None]
        if not left:
            raise UserError(
                f"variant {point.label!r}: no value of {tune.key} is left, as each of {list(tune.values)} has a run "
                f"that diverged or measured no {metric}: give tune other values"
            )
        best = min(left, key=lambda value: sign * scores[value])
        chosen[point.label] = {
            "value": best,
            "scores": {repr(value): score for value, score in scores.items()},
            "edge": best in (min(tune.values), max(tune.values)),
        }
    record = {
        "key": tune.key,
        "values": list(tune.values),
        "seeds": tune.seeds,
        "metric": metric,
        "chosen": chosen,
        "cost": _cost(study, runs),
    }
    return {label: {tune.key: each["value"]} for label, each in chosen.items()}, record


def _stem(label: str, value: float) -> str:
    return f"tune-{slug(label)}-{value!r}"


def _of(runs: Sequence[Run], label: str, value: float) -> list[Run]:
    """The runs of a variant with a value, which stands in the names of their directories."""
    stem = _stem(label, value)
    found = [run for run in runs if run.label == label and run.directory.name.startswith(f"{stem}-s{run.seed}-")]
    if not found:
        raise UserError(f"variant {label!r} has not been tuned with {value!r} yet")
    return found


def _score(runs: Sequence[Run], metric: str) -> float | None:
    waiting = [run.directory.name for run in runs if run.status not in (FINISHED, DIVERGED)]
    if waiting:
        raise UserError(f"{waiting[0]} is not done yet: nothing can be chosen before")
    values = [run.value(metric) for run in runs]
    return None if None in values else mean(values)


def _cost(study: Study, runs: Sequence[Run]) -> dict[str, float]:
    tokens = {p.label: tokens_per_update(trial(study, p, study.base.seed, {}).config) for p in study.grid}
    done = [run for run in runs if run.result]
    flops = sum(run.result["flops_per_token"] * tokens[run.label] * run.result["step"] for run in done)
    return {"runs": len(runs), "seconds": sum(run.result["seconds"] for run in done), "training_flops": flops}
