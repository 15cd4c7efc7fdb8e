"""Views that hide or divide: drawn anew in each epoch, exactly repeatable, and counted before anything is read."""

import json
from itertools import islice

import jax
import numpy as np
import pytest

from transformer_jax.batch import real_tokens

RANDOM = ("prefix", "masked", "masked(span=3)", "span", "span(layout='joined')", "ul2", "ul2(layout='joined')")


def take(data, n, state=None, **which):
    iterator = data.train_iterator(**which)
    try:
        if state is not None:
            iterator.set_state(state)
        return list(islice(iterator, n)), iterator.get_state()
    finally:
        iterator.close()


def equal(one, two):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, two)))


def joined(parts):
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@pytest.mark.parametrize("view", RANDOM)
def test_epochs_differ_seeds_differ_and_evaluation_is_fixed(view, objective):
    texts = dict(corpus="web(split='verse')", length=96, source_length=160)
    data = objective(view, **texts, packed=False)
    rows = data.rows("train")
    one, two = (rows.batch(np.arange(32)) for _ in range(2))
    assert equal(one, two)
    keyed = [rows.take(np.arange(32), np.stack([np.full(32, 5), np.arange(32) + e * 1000], 1)) for e in range(2)]
    fields = [name for name in ("tokens_BL", "weights_BL", "parts_BL", "source_BM") if name in keyed[0]]
    assert any(not np.array_equal(keyed[0][name], keyed[1][name]) for name in fields)
    first, second = (list(islice(data.eval_batches("valid"), 2)) for _ in range(2))
    other_seed = list(islice(objective(view, seed=9, **texts, packed=False).eval_batches("valid"), 2))
    assert equal(first, second) and equal(first, other_seed)


def test_an_epoch_hides_other_tokens_than_the_one_before(objective):
    data = objective("masked", corpus="web(split='verse')", batch_size=64)
    n = len(data.rows("train"))
    batches, _ = take(data, -(-2 * n // 64))
    seen = joined(batches)
    masks = {}
    for row in range(2 * n):
        masks.setdefault(seen.targets_BL[row].tobytes(), []).append(seen.weights_BL[row].tobytes())
    twice = [found for found in masks.values() if len(found) == 2]
    assert len(twice) > 0.9 * n and sum(a == b for a, b in twice) == 0


@pytest.mark.parametrize("view", RANDOM)
def test_batches_do_not_depend_on_processes_and_resume_exactly(view, objective):
    data = objective(view, seed=3)
    alone, _ = take(data, 6)
    parts = [take(data, 6, rows=rows)[0] for rows in np.arange(8).reshape(2, 4)]
    assert all(equal(batch, joined([part[i] for part in parts])) for i, batch in enumerate(alone))
    _, state = take(data, 4)
    rest, _ = take(data, 2, json.loads(json.dumps(state)))
    assert equal(alone[4:], rest)
    assert not equal(alone[0], take(objective(view, seed=4), 1)[0][0])


def test_workers_draw_the_same_and_resume_exactly(objective):
    alone, _ = take(objective("ul2", seed=1), 8)
    data = objective("ul2", seed=1, workers=2)
    batches, state = take(data, 5)
    rest, _ = take(data, 3, json.loads(json.dumps(state)))
    assert equal(alone, batches + rest)


@pytest.mark.parametrize("view", ["text", *RANDOM])
def test_what_an_update_reads_is_what_batches_hold(view, objective):
    data = objective(view, batch_size=16)
    batches, _ = take(data, 40)
    found = {
        "tokens": [real_tokens(batch) for batch in batches],
        "targets": [batch.weights_BL.sum() for batch in batches],
        "bytes": [(batch.weights_BL * batch.bytes_BL).sum() for batch in batches],
    }
    expected = data.per_update()
    assert expected.keys() == found.keys()
    for name, values in found.items():
        error = np.std(values) / np.sqrt(len(values)) + 0.002 * expected[name]
        assert abs(np.mean(values) - expected[name]) < 4 * error, name
    assert data.report["train"]["targets"] == round(expected["targets"] * len(data.rows("train")) / 16)
