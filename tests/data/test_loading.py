"""`load`: the same global batches for any number of processes, exact resumption, whole evaluation, clear errors."""

import json
from itertools import islice
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from transformer_jax import config
from transformer_jax.data import load, problems
from transformer_jax.errors import UserError

COPY = "copy(examples=203, held_out=21)"


def take(data, n, state=None, **which):
    """n batches, and the state of the iterator after them."""
    iterator = data.train_iterator(**which)
    try:
        if state is not None:
            iterator.set_state(state)
        return list(islice(iterator, n)), iterator.get_state()
    finally:
        iterator.close()


def assert_equal(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def joined(parts):
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def test_load_takes_the_config_as_it_is():
    data = load(config.base().data, seed=0)
    (batch,), _ = take(data, 1)
    assert batch.tokens_BL.shape == (16, 128) and batch.source_BM is None
    assert data.vocab_size == 259 and data.view.families == ("decoder_only",)
    assert problems(config.base().data) == []


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("view", ["pairs", "prompt_answer"])
def test_the_global_batch_does_not_depend_on_who_takes_which_rows(section, view, count):
    data = load(section(corpus=COPY, view=view, batch_size=8), seed=3)
    alone, _ = take(data, 12)
    shares = np.arange(8).reshape(count, -1)
    parts = [take(data, 12, rows=rows)[0] for rows in shares]
    assert parts[0][0].tokens_BL.shape[0] == 8 // count
    for i, batch in enumerate(alone):
        assert_equal(batch, joined([part[i] for part in parts]))
    whole = list(data.eval_batches("valid"))
    parts = [list(data.eval_batches("valid", rows=rows)) for rows in shares]
    for i, batch in enumerate(whole):
        assert_equal(batch, joined([part[i] for part in parts]))


def test_an_epoch_has_every_row_once_and_the_next_another_order(section):
    data = load(section(corpus=COPY, packed=False, batch_size=8), seed=0)
    n = len(data.rows("train"))
    assert n == 203
    batches, _ = take(data, 2 * n // 8)
    order = [row.tobytes() for batch in batches for row in batch.tokens_BL]
    assert sorted(order[:n]) == sorted(row.tobytes() for row in data.rows("train").batch(np.arange(n)).tokens_BL)
    assert order[:n] != order[n : 2 * n]


def test_the_order_follows_from_the_seed(section):
    def order(seed):
        data = load(section(corpus=COPY, packed=False, batch_size=29), seed=seed)
        return [row.tobytes() for batch in take(data, 21)[0] for row in batch.tokens_BL]

    assert order(0) == order(0) != order(1)
    # Neighbouring seeds do not share the orders of neighbouring epochs.
    assert order(0)[203:406] != order(1)[:203]


@pytest.mark.parametrize("steps", [0, 1, 13, 40])
def test_state_restores_exactly(section, steps):
    data = load(section(corpus=COPY), seed=1)
    expected, _ = take(data, steps + 5)
    _, state = take(data, steps)
    again, _ = take(data, 5, json.loads(json.dumps(state)))
    for one, two in zip(expected[steps:], again, strict=True):
        assert_equal(one, two)


def test_workers_give_the_same_batches_and_restore(section):
    alone, _ = take(load(section(corpus=COPY), seed=1), 8)
    data = load(section(corpus=COPY, workers=1), seed=1)
    batches, state = take(data, 5)
    rest, _ = take(data, 3, json.loads(json.dumps(state)))
    for one, two in zip(alone, batches + rest, strict=True):
        assert_equal(one, two)


@pytest.mark.parametrize("packed", [True, False])
def test_fewer_rows_than_a_batch_are_repeated(section, packed):
    (batch,), _ = take(load(section(packed=packed, batch_size=6), seed=0), 1)
    assert batch.tokens_BL.shape == (6, 64)
    assert len(np.unique(batch.tokens_BL, axis=0)) == (1 if packed else 2)


def test_a_batch_may_be_one_row(section):
    batches, _ = take(load(section(corpus=COPY, batch_size=1), seed=0), 3)
    assert [batch.tokens_BL.shape for batch in batches] == [(1, 64)] * 3


def test_evaluation_sees_every_row_once_and_pads_with_weight_0(section):
    data = load(section(corpus=COPY, packed=False, batch_size=8), seed=0)
    batches = list(data.eval_batches("valid"))
    assert [batch.tokens_BL.shape for batch in batches] == [(8, 64)] * 3
    every = joined(batches)
    assert_equal(jax.tree.map(lambda a: a[:21], every), data.rows("valid").batch(np.arange(21)))
    assert not every.weights_BL[21:].any() and not every.segments_BL[21:].any()
    limited = list(data.eval_batches("valid", limit=2))
    assert len(limited) == 2 and len(list(data.eval_batches("valid", limit=9))) == 3
    assert_equal(limited[1], batches[1])


def test_report_and_identity(section, caplog):
    data = load(section(corpus="web_kjv", view="pairs", length=256, source_length=256), seed=0)
    report = json.loads(json.dumps(data.report))
    test = report["test"]
    assert f"{report['train']['dropped']} of 28881 training examples are too long" in caplog.text
    assert test["examples"] == 1037 and report["notes"]["leaked"]["train"] > 0
    texts = [text for pair in data.examples("test") for text in pair]
    assert test["bytes"] == test["tokens"] == sum(len(text.encode()) for text in texts)
    assert test["dropped"] > 0 and test["fill"] > 0.9 and test["target_bytes"] < test["bytes"]
    assert data.identity == {"corpus_sha256": data.corpus.sha256, "tokenizer_sha256": data.tokenizer.sha256}
    assert all(len(digest) == 64 for digest in data.identity.values())


def test_a_study_fits_and_encodes_once(section):
    one, two = (load(section(corpus="web(split='verse')", view="text", tokenizer="word"), seed=s) for s in (0, 1))
    assert one.tokenizer is two.tokenizer and one.corpus is two.corpus
    assert one.rows("train") is two.rows("train")


def test_the_tokenizer_is_fitted_to_train_only(section):
    data = load(section(corpus="web_kjv", tokenizer="word(vocab=100000)", length=256), seed=0)
    held = " ".join(text for pair in data.examples("test") for text in pair)
    assert (data.tokenizer.encode(held)[0] == 2).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(corpus="webb"), r"data\.corpus: unknown corpus 'webb' \(did you mean 'web'\?\)"),
        (dict(view="txt"), r"data\.view: unknown view 'txt' \(did you mean 'text'\?\)"),
        (dict(tokenizer="bpe(vocab=3)"), r"data\.tokenizer: .*give at least 259"),
        (dict(view="text"), r"data\.view='text' takes documents.*gives pairs; views that fit: pairs, prompt_answer"),
        (
            dict(corpus="web"),
            r"data\.view='prompt_answer' takes pairs.*documents; views that fit: masked, prefix, span, text, ul2",
        ),
        (dict(corpus="text(path='missing.txt')", view="text"), r"data\.corpus: .*no such file"),
        (dict(length=0), r"data\.length=0: give a whole number, at least 1"),
        (dict(batch_size=-4), r"data\.batch_size=-4"),
        (dict(batch_size=2.5), r"data\.batch_size=2\.5"),
        (dict(workers=-1), r"data\.workers=-1: give a whole number, at least 0"),
        (dict(length=4), r"train of data\.corpus='toy': no example fits a row of length=4"),
    ],
)
def test_what_is_wrong_is_told(section, changes, message):
    with pytest.raises(UserError, match=message):
        load(section(**changes), seed=0)


def test_problems_names_all_of_them(section):
    found = problems(section(corpus="webb", view="txt", length=0))
    assert len(found) == 3 and problems(section()) == []


def test_wrong_calls_are_told(section):
    data = load(section(), seed=0)
    for call, message in [
        (lambda: data.train_iterator(rows=[3, 4]), r"rows=\[3, 4\]: give numbers from 0 to 3"),
        (lambda: data.eval_batches("valid", rows=[]), r"rows=\[\]: give numbers from 0 to 3"),
        (lambda: data.eval_batches("dev"), "unknown split 'dev'"),
        (lambda: data.eval_batches("valid", limit=-1), "limit=-1"),
        (lambda: load(section(), seed=-1), "seed=-1"),
    ]:
        with pytest.raises(UserError, match=message):
            call()


def test_nothing_but_attributes_is_asked_of_the_config(section):
    assert isinstance(section(), SimpleNamespace)
    load(section(), seed=0)
