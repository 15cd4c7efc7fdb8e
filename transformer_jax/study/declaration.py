"""study.json: what a study declares before its first run, and what may be added to it later."""

import json
import time
from pathlib import Path

from transformer_jax import config as configs
from transformer_jax.errors import UserError
from transformer_jax.study.study import Study
from transformer_jax.study.trials import Trial, flat

FORMAT = 3
# What a declaration of an older format, which could not say otherwise, means: 1 had no secondary goals, and
# 2 neither margins nor claims, budgets, tuning or another test than the t-test.
_DEFAULTS = {"also": [], "margin": None, "test": "t", "claims": [], "budget": None, "tuning": None}
_FIXED = ("name", "metric", "direction", "margin", "also", "alpha", "test", "baseline")  # never changed once declared
_FIXED_OF = {"budget": ("kind", "resize", "tolerance"), "tuning": ("key", "values", "seeds")}


def declare(study: Study, planned: list[Trial], command: str, budget: dict | None, tuning: dict | None) -> dict:
    """The content of study.json.

    Args:
      planned: the trials; none while the study is still tuning.
      budget, tuning: records of what was matched and chosen.
    """
    base = flat(study.base)
    start = study.base.seed
    first = {}
    for trial in planned:
        first.setdefault(trial.label, flat(trial.config))
    declared = {
        "format": FORMAT,
        "name": study.name,
        "question": study.question,
        "metric": study.goal.metric,
        "direction": study.goal.direction,
        "margin": study.goal.margin,
        "also": [{"metric": g.metric, "direction": g.direction, "margin": g.margin} for g in study.also],
        "alpha": study.goal.alpha,
        "test": study.test,
        "claims": [
            {
                "text": str(each),
                "left": each.left,
                "relation": each.relation,
                "right": each.right,
                "metric": each.metric or study.goal.metric,
                "source": each.source,
            }
            for each in study.claims
        ],
        "budget": budget,
        "tuning": tuning,
        "baseline": study.baseline,
        "seeds": list(range(start, start + study.seeds)),
        "variants": [
            {
                "label": each.label,
                "overrides": dict(each.overrides),
                # Keys that follow an overridden one (ffn_size follows width) have changed too.
                "changed": {k: v for k, v in first.get(each.label, base).items() if v != base.get(k) and k != "seed"},
            }
            for each in study.grid
        ],
        "base": configs.to_dict(study.base),
        "trials": [
            {"label": t.label, "seed": t.seed, "directory": t.directory, "fingerprint": t.fingerprint} for t in planned
        ],
        "command": command,
        "declared": time.strftime("%Y-%m-%d %H:%M"),
        "amendments": [],
    }
    return json.loads(json.dumps(declared))  # as it will be read: tuples are lists


def read(path: Path) -> dict:
    """A declaration of any format, as one of the newest.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if found.get("format") not in range(1, FORMAT + 1):
        raise UserError(f"{path} has format {found.get('format')!r}; this version reads 1 to {FORMAT}")
    found = _DEFAULTS | found
    return found | {"also": [{"margin": None} | each for each in found["also"]]}


def changes(old: dict, new: dict) -> list[str]:
    """What no study may change, a line each."""
    lines = [f"{key}: {old[key]!r} -> {new[key]!r}" for key in _FIXED if old[key] != new[key]]
    for what, keys in _FIXED_OF.items():
        a, b = ({key: of[what][key] for key in keys} if of[what] else None for of in (old, new))
        if a != b:
            lines.append(f"{what}: {a!r} -> {b!r}")
    # Keys that have come since have their default; seeds are compared as such, below.
    was = configs.to_dict(configs.from_dict(old["base"])) if old["base"] != new["base"] else old["base"]
    lines += [f"base {line}" for line in configs.differences(was | {"seed": 0}, new["base"] | {"seed": 0})]
    have = {each["label"]: each["overrides"] for each in new["variants"]}
    for each in old["variants"]:
        if each["label"] not in have:
            lines.append(f"variant {each['label']!r}: taken away")
        elif have[each["label"]] != each["overrides"]:
            lines.append(f"variant {each['label']!r}: {each['overrides']!r} -> {have[each['label']]!r}")
    gone = sorted(set(old["seeds"]) - set(new["seeds"]))
    if gone:
        lines.append(f"seeds: {old['seeds']} -> {new['seeds']} (taken away: {gone})")
    return lines + [
        f"claim {each['text']!r}: changed or taken away" for each in old["claims"] if each not in new["claims"]
    ]


def additions(old: dict, new: dict) -> list[str]:
    """What has come since, a line each."""
    labels = {each["label"] for each in old["variants"]}
    lines = [f"variant {each['label']!r}" for each in new["variants"] if each["label"] not in labels]
    lines += [f"seed {seed}" for seed in new["seeds"] if seed not in old["seeds"]]
    return lines + [f"claim {each['text']!r}" for each in new["claims"] if each not in old["claims"]]


def amended(old: dict, new: dict, results_known: int) -> dict:
    """`new` with the history of `old`; runs that were declared before keep their directories."""
    before = {(each["label"], each["seed"]): each for each in old["trials"]}
    kept = new | {
        "declared": old["declared"],
        "amendments": old["amendments"],
        "trials": [before.get((each["label"], each["seed"]), each) for each in new["trials"]],
    }
    added = additions(old, new)
    if added:
        amendment = {"when": time.strftime("%Y-%m-%d %H:%M"), "added": added, "results_known": results_known}
        kept["amendments"] = [*old["amendments"], amendment]
    return kept
