"""What is computed once in a process, so that the runs of a study share it: content, tokens and rows."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from transformer_jax.data.corpora.base import Corpus, corpora
from transformer_jax.data.rows import Encoded, Rows
from transformer_jax.data.tokenizers.base import Marks, Tokenizer, tokenizers
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Everything that decides the rows of a split.

    Attributes:
      corpus, tokenizer: spec strings.
      view: spec string, of train; its marks are those of all splits.
      eval_view: spec string, of valid and test.
      length, source_length: L and M.
      packed: several documents or examples share a row.
      stamp: of the corpus, so that a file that has changed is read again.
      fitted_on: spec and stamp of the corpus whose train split the tokenizer is fitted to; None is this one.
    """

    corpus: str
    tokenizer: str
    view: str
    eval_view: str
    length: int
    source_length: int
    packed: bool
    stamp: Hashable = None
    fitted_on: tuple[str, Hashable] | None = None


def corpus_of(layout: Layout) -> Corpus:
    """The corpus, with its content read at most once."""
    return _corpus(layout.corpus, layout.stamp)


def tokenizer_of(layout: Layout) -> Tokenizer:
    """The tokenizer, fitted to a train split."""
    return _tokenizer(layout.tokenizer, *(layout.fitted_on or (layout.corpus, layout.stamp)))


def labels_of(layout: Layout) -> tuple[str, ...]:
    """The labels that targets number, of the corpus that the tokenizer is fitted to."""
    return _corpus(*(layout.fitted_on or (layout.corpus, layout.stamp))).labels


def marks_of(layout: Layout) -> Marks:
    """Ids of the special tokens in the rows of all splits."""
    return views.build(layout.view).marks(tokenizer_of(layout))


def encoded(layout: Layout, split: str) -> tuple[Encoded, ...]:
    """(documents,), (sources, targets) or (texts, numbers of labels) of a split."""
    fitted_on = layout.fitted_on or (layout.corpus, layout.stamp)
    return _encoded(layout.tokenizer, fitted_on, layout.corpus, layout.stamp, split)


# The caches hold a few data sets only: a study varies the model far more often than its data.
@lru_cache(maxsize=12)
def rows_of(layout: Layout, split: str) -> Rows:
    """The rows of a split.

    Raises:
      UserError: if no example fits a row.
    """
    sides = encoded(layout, split)
    view = views.build(layout.view if split == "train" else layout.eval_view)
    try:
        return view.rows(sides, layout.length, layout.source_length, layout.packed, marks_of(layout))
    except UserError as error:
        raise UserError(f"{split} of data.corpus={layout.corpus!r}: {error}") from None


@lru_cache(maxsize=8)
def _corpus(spec: str, stamp: Hashable) -> Corpus:
    return corpora.build(spec)


@lru_cache(maxsize=8)
def _tokenizer(spec: str, corpus: str, stamp: Hashable) -> Tokenizer:
    tokenizer = tokenizers.build(spec)
    texts = _corpus(corpus, stamp).texts("train")
    try:
        tokenizer.train(texts)
    except UserError as error:
        raise UserError(f"data.tokenizer={spec!r}: {error}") from None
    return tokenizer


@lru_cache(maxsize=12)
def _encoded(
    tokenizer: str, fitted_on: tuple[str, Hashable], corpus: str, stamp: Hashable, split: str
) -> tuple[Encoded, ...]:
    content, fitted = _corpus(corpus, stamp), _tokenizer(tokenizer, *fitted_on)
    texts = content.texts(split)
    if content.kind == "labelled":
        numbers = _numbers(content, split, _corpus(*fitted_on).labels)
        return Encoded.of(fitted.encode_many(texts)), numbers
    sides = (texts,) if content.kind == "documents" else (texts[::2], texts[1::2])
    return tuple(Encoded.of(fitted.encode_many(side)) for side in sides)


def _numbers(corpus: Corpus, split: str, labels: tuple[str, ...]) -> Encoded:
    """The number of each example's label, as a text of one token without bytes."""
    number = {label: i for i, label in enumerate(labels)}
    unknown = sorted({label for _, label in corpus.part(split)} - number.keys())
    if unknown:
        raise UserError(f"{corpus} has the label {unknown[0]!r}, which the run's own corpus does not have")
    ids_E = np.asarray([number[label] for _, label in corpus.part(split)], np.int32)
    return Encoded(ids_E, np.zeros_like(ids_E), np.ones(len(ids_E), np.int64))
