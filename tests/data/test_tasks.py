"""Tasks have the right answers, the declared lengths, and disjoint splits."""

import pytest

from transformer_jax.data.corpora.base import SPLITS, corpora
from transformer_jax.errors import UserError

SIZE = "examples=300, held_out=60"


def recall(source):
    pairs, _, key = source.partition("?")
    return dict(zip(pairs[::2], pairs[1::2], strict=True))[key]


def added(source):
    return str(sum(map(int, source.split("+"))))


def digits(source):
    return max(map(len, source.split("+")))


TASKS = {
    "copy": (lambda s: s, len),
    "reverse": (lambda s: "".join(reversed(s)), len),
    "sort": (lambda s: "".join(sorted(s)), len),
    "addition": (added, digits),
    "associative_recall": (recall, lambda s: (len(s) - 2) // 2),
}


@pytest.mark.parametrize("name", TASKS)
def test_answers_lengths_and_splits(name):
    answer, length = TASKS[name]
    task = corpora.build(f"{name}({SIZE})")
    for split in SPLITS:
        assert len(task.part(split)) == (300 if split == "train" else 60)
        least, greatest = task.test if split == "test" else task.train
        for source, target in task.part(split):
            assert target == answer(source)
            assert least <= length(source) <= greatest


@pytest.mark.parametrize("name", TASKS)
def test_same_lengths_in_train_and_test_are_still_disjoint(name):
    task = corpora.build(f"{name}({SIZE}, train=(1, 4), test=(1, 4))")
    train, valid, test = ({source for source, _ in task.part(split)} for split in SPLITS)
    assert train and not train & valid and not train & test and not valid & test


def test_the_same_arguments_give_the_same_pairs():
    spec = f"copy({SIZE})"
    assert corpora.build(spec).part("train") == corpora.build(spec).part("train")
    assert corpora.build(spec).part("train") != corpora.build(f"copy({SIZE}, seed=1)").part("train")


def test_reversed_answers_start_with_the_ones():
    usual, other = (corpora.build(f"addition({SIZE}, order='{order}')") for order in ("usual", "reversed"))
    assert [(s, t[::-1]) for s, t in usual.part("test")] == list(other.part("test"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("copy(train=(5, 2))", r"train=\(5, 2\): give \(least, greatest\)"),
        ("copy(train=(0, 2))", "give"),
        ("copy(test=(1, 2, 3))", "give"),
        ("copy(test=3)", "not accepted; give tuple"),
        ("copy(examples=0)", "examples=0: give at least 1"),
        ("copy(symbols=27)", "symbols=27: give 2 to 26"),
        ("sort(seed=-1)", "seed=-1"),
        ("associative_recall(test=(9, 27))", "the greatest length is 26"),
        ("addition(order='up')", "'usual' or 'reversed'"),
        ("copy(symbols=2, train=(1, 1))", "too few different examples"),
    ],
)
def test_bad_arguments_are_told(spec, message):
    with pytest.raises(UserError, match=message):
        corpora.build(spec).part("train")
        corpora.build(spec).part("valid")
