"""Spikes of the loss, planted in the stream of batches."""

import json
from collections.abc import Iterator

import numpy as np

from tests.faults.base import Bench, Row, differences, fault, reached, rows, tiny, train, write_config
from tests.faults.kill import until_it_ends

_SHARED = dict(train__steps=60, train__eval_every=20, optim__learning_rate=1e-2)


@fault("spikes")
def spiking(bench: Bench) -> Iterator[Row]:
    yield _skip(bench)
    yield from _rewind(bench)


def _skip(bench: Bench) -> Row:
    config = tiny(train__spikes="skip(above=1.1, over=10, of='loss')", model__dropout=0.0, **_SHARED)
    place = bench.fresh("spikes/skip")
    path = write_config(config, place / "config.py")
    code, output = train(bench, path, place / "run", at="bad:31,32,47")
    result = json.loads((place / "run/result.json").read_text()) if code == 0 else {}
    good = result.get("spikes") == 3 and "3 spikes skipped" in output
    return Row(
        "3 of 60 batches ruined, train.spikes=skip",
        3,
        f"{result.get('spikes')} updates left out, counted in progress, metrics.jsonl and result.json; loss "
        f"{_loss(place / 'run', 30):.3f} at step 30, {_loss(place / 'run', 60):.3f} at 60",
        good,
    )


def _rewind(bench: Bench) -> Iterator[Row]:
    config = tiny(train__spikes="rewind(above=1.1, over=10, of='loss')", **_SHARED)
    place = bench.fresh("spikes/rewind")
    path = write_config(config, place / "config.py")
    code, output = train(bench, path, place / "run", at="bad:31,32,47")
    whole = reached(config, place / "run") if code == 0 else {}
    told = whole.get("result rewinds", [])
    recorded = json.loads((place / "run/manifest.json").read_text()).get("rewinds")
    went = "; ".join(f"from {each['spike']} back to {each['back_to']}" for each in told)
    yield Row(
        "the same, train.spikes=rewind",
        len(told),
        f"{went}; {sum(each['skipped'] for each in told)} batches skipped, recorded in metrics.jsonl, manifest.json "
        "and result.json",
        code == 0 and len(told) == 2 and recorded == told and "spike at step 31" in output,
    )
    rng, kills, wrong, lost = np.random.default_rng(bench.seed), 0, [], 0
    for number in range(bench.times(3, 1)):
        workdir = place / f"killed{number}"
        killed, left, _ = until_it_ends(bench, path, workdir, rng, 10.0, bench.times(4, 1), at="bad:31,32,47")
        kills, lost = kills + killed, lost + left
        wrong += differences(whole, reached(config, workdir))
    yield Row(
        "the same, killed -9 at random moments",
        kills,
        f"{lost} steps lost beyond the last committed checkpoint; the same rewinds and the same end, {len(wrong)} "
        "differences",
        not wrong and not lost,
    )


def _loss(workdir, step: int) -> float:
    return rows(workdir).get(f"{step} train/loss", float("nan"))
