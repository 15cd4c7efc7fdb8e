"""Study directories as `study run` leaves them, written straight to disk."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

from transformer_jax import config

METRIC = "valid/bits_per_byte"


def variants(*labels: str, key: str = "model.position") -> list[tuple[str, dict]]:
    return [(label, {key: label}) for label in labels]


def _write_run(run: Path, final: float, steps: int, parameters: int, measured: dict, extra: dict) -> None:
    """The curve and the result of one run; a final value of NaN says that it diverged."""
    end = 3.0 if math.isnan(final) else final
    points = [{"step": k, "train/loss": end + 1 / k, METRIC: end + 1 / k} for k in range(1, steps + 1)]
    lines = [json.dumps(point) for point in points]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    found = {
        "status": "diverged" if math.isnan(final) else "finished",
        "step": steps,
        "parameters": parameters,
        "tokens_per_second": 500.0,
        "flops_per_token": 6000.0,
        "seconds": 2.0,
        "metrics": {} if math.isnan(final) else {METRIC: final} | measured,
        "not_applicable": {},
    }
    (run / "result.json").write_text(json.dumps(found | extra))


def write_study(
    directory: Path,
    made: list[tuple[str, dict]],
    value: Callable[[str, int], float | None],
    *,
    seeds: tuple[int, ...] = (0, 1, 2, 3),
    declared: dict | None = None,
    metrics: Callable[[str, int], dict] = lambda label, seed: {},
    result: Callable[[str, int], dict] = lambda label, seed: {},
    manifest: dict | None = None,
    base: dict | None = None,
    steps: int = 20,
) -> Path:
    """A study of `made`, (label, overrides) of each variant.

    Args:
      value: of the metric, for (label, seed); None leaves the run out, NaN says that it diverged.
      declared: further keys of study.json, or others.
      metrics, result: further keys of a run's metrics, or of its result.
      manifest: of every run.
      base: dotted keys of the base config that are not the defaults.
      steps: points of each learning curve.
    """
    root = config.base()
    for key, each in (base or {}).items():
        config.override(root, key, each)
    trials = [
        {"label": label, "seed": seed, "directory": f"v{i}-s{seed}", "fingerprint": f"{i}-{seed}"}
        for seed in seeds
        for i, (label, _) in enumerate(made)
    ]
    study = {
        "format": 3, "name": "written", "question": "Which one?", "metric": METRIC, "direction": "min", "alpha": 0.05,
        "baseline": made[0][0], "seeds": list(seeds), "base": config.to_dict(root), "trials": trials,
        "variants": [{"label": label, "overrides": set_, "changed": set_} for label, set_ in made],
        "command": "python -m transformer_jax study run X.py --workdir=runs/x", "declared": "2026-01-01 12:00",
        "amendments": [],
    }  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "study.json").write_text(json.dumps(study | (declared or {})))
    for trial in trials:
        label, seed = trial["label"], trial["seed"]
        final = value(label, seed)
        run = directory / "runs" / trial["directory"]
        run.mkdir(parents=True, exist_ok=True)
        if final is None:
            continue
        _write_run(run, final, steps, 1000 + len(label), metrics(label, seed), result(label, seed))
        data = {"corpus_sha256": "c" * 64, "tokenizer_sha256": "t" * 64}
        about = {"versions": {"jax": "0.10.2"}, "devices": ["cpu"], "data": data}
        (run / "manifest.json").write_text(json.dumps(about | (manifest or {})))
    return directory


def noise(label: str, seed: int, size: float = 0.01) -> float:
    """Always the same for a label and a seed; the larger part of it is shared by all labels."""
    return random.Random(f"{label}, {seed}").gauss(0, size) + random.Random(seed).gauss(0, 5 * size)
