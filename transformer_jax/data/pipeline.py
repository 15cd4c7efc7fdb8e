"""`load`: a config's data section -> `Data`, which gives batches, reports and identities."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import grain
import numpy as np

from transformer_jax.batch import Batch
from transformer_jax.data import named_tests
from transformer_jax.data.corpora.base import SPLITS, Corpus, Example, corpora
from transformer_jax.data.prepared import Layout, corpus_of, encoded, labels_of, rows_of, tokenizer_of
from transformer_jax.data.rows import Rows
from transformer_jax.data.tokenizers.base import Tokenizer, tokenizers
from transformer_jax.data.views.base import Needs, View, views
from transformer_jax.errors import UserError

_LOG = logging.getLogger(__name__)

_REGISTRIES = (("corpus", corpora), ("view", views), ("eval_view", views), ("tokenizer", tokenizers))
_MOST = 2**53  # rows that are ever drawn
_SIZES = {"length": 1, "source_length": 1, "batch_size": 1, "workers": 0}  # and the least that each may be


def load(data_config, seed: int, *, context: int = 1) -> "Data":
    """Reads the corpora, fits the tokenizer and lays out train and `tests`, or takes them from an earlier call.

    Args:
      data_config: anything with the attributes corpus, tests, view, eval_view, tokenizer, length, source_length,
        batch_size, packed and workers, as in `config.base().data`.
      seed: decides the order of the training rows.
      context: what divides the length of a row on the mesh; the rows of `tests` are made multiples of it.

    Raises:
      UserError: naming everything in `data_config` that is wrong, or what is wrong with the corpus.
    """
    found = problems(data_config)
    if seed < 0:
        found.append(f"seed={seed}: give a whole number, at least 0")
    if found:
        raise UserError("; ".join(found))
    layout = Layout(
        corpus=data_config.corpus,
        tokenizer=data_config.tokenizer,
        view=data_config.view,
        eval_view=data_config.eval_view,
        length=data_config.length,
        source_length=data_config.source_length,
        packed=data_config.packed,
        stamp=corpora.build(data_config.corpus).stamp(),
    )
    run = (data_config.batch_size, data_config.workers, seed)
    tests = named_tests.layouts(data_config.tests, layout, context)
    data = Data(layout, *run, {name: Data(each, *run) for name, each in tests.items()})
    dropped, total = data.rows("train").dropped, len(data.examples("train"))
    if dropped:
        _LOG.warning("%d of %d training examples are too long for a row and are left out", dropped, total)
    return data


def problems(data_config) -> list[str]:
    """What is wrong with a config's data section, found without reading the corpus; empty if nothing is."""
    found, built = [], {}
    for key, registry in _REGISTRIES:
        try:
            built[key] = registry.build(getattr(data_config, key))
            if key in ("corpus", "tokenizer"):
                built[key].check()
        except UserError as error:
            if key != "eval_view" or data_config.eval_view != data_config.view:  # else it has been told
                found.append(f"data.{key}: {error}")
    if "corpus" in built and "view" in built:
        found += _view_problems(data_config, built)
    found += named_tests.problems(data_config.tests, built["corpus"].kind if "corpus" in built else None)
    for key, least in _SIZES.items():
        value = getattr(data_config, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            found.append(f"data.{key}={value!r}: give a whole number, at least {least}")
    return found


def _view_problems(data_config, built: dict[str, object]) -> list[str]:
    kind, found = built["corpus"].kind, []
    for key in ("view", "eval_view"):
        if key not in built or (key == "eval_view" and data_config.eval_view == data_config.view):
            continue
        if built[key].kind != kind:
            fit = ", ".join(name for name in views.names() if views.lookup(name).kind == kind)
            found.append(
                f"data.{key}={getattr(data_config, key)!r} takes {built[key].kind}, but "
                f"data.corpus={data_config.corpus!r} gives {kind}; views that fit: {fit}"
            )
        lacking = [n for n, a, b in zip(Needs._fields, built["view"].needs, built[key].needs, strict=True) if b > a]
        if lacking:
            found.append(
                f"data.eval_view={data_config.eval_view!r} writes more {' and '.join(lacking)} than "
                f"data.view={data_config.view!r}, which a model so trained has not met"
            )
    return found


def vocab_size_of(data_config, tokenizer: Tokenizer) -> int:
    """V of a model that is trained on a data section, where only its fitted tokenizer is at hand."""
    return views.build(data_config.view).vocab(tokenizer)


@dataclass(frozen=True)
class Data:
    """One corpus, tokenized and laid out. Make it with `load`.

    Attributes:
      layout: what decides the rows.
      batch_size: B, rows in the global batch.
      workers: processes that prepare batches; 0 uses one thread.
      seed: decides the order of the training rows.
      tests: the sets of `data.tests` by name; the split 'test' of each is what is meant.
    """

    layout: Layout
    batch_size: int
    workers: int
    seed: int
    tests: Mapping[str, "Data"] = field(default_factory=dict)

    @property
    def corpus(self) -> Corpus:
        return corpus_of(self.layout)

    @property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_of(self.layout)

    @cached_property
    def view(self) -> View:
        """Of train."""
        return views.build(self.layout.view)

    @property
    def vocab_size(self) -> int:
        """V: tokens of the fitted tokenizer, its specials and the marks of the view included."""
        return self.view.vocab(self.tokenizer)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the targets of a labelled corpus number; empty for other corpora."""
        return labels_of(self.layout)

    @property
    def classes(self) -> int | None:
        """How many labels there are, or None."""
        return len(self.labels) or None

    def examples(self, split: str) -> Sequence[Example]:
        """The texts of 'train', 'valid' or 'test': documents, (source, target) or (text, label)."""
        return self.corpus.part(split)

    def rows(self, split: str) -> Rows:
        """All rows of a split, in order."""
        return rows_of(self.layout, split)

    @cached_property
    def report(self) -> dict[str, object]:
        """JSON-ready counts: examples, tokens, bytes, rows, fill and dropped of each split and test set; notes."""
        per_split = {split: self._counts(split) for split in SPLITS}
        tests = {
            name: {"corpus": test.layout.corpus, "length": test.layout.length, **test._counts("test")}
            for name, test in self.tests.items()
        }
        sizes = {"vocab_size": self.vocab_size} | ({"classes": self.classes} if self.classes else {})
        return {**sizes, **per_split, "tests": tests, "notes": self.corpus.splits.notes}

    def _counts(self, split: str) -> dict[str, object]:
        sides = encoded(self.layout, split)
        try:
            rows = self.rows(split).report()
        except UserError as error:  # a run that never reads its test split may do without it
            rows = {"problem": str(error)}
        if self.corpus.kind == "labelled":
            sides = sides[:1]
        return {
            "examples": len(sides[0].sizes_E),
            "tokens": sum(len(side.ids_T) for side in sides),
            "bytes": sum(int(side.bytes_T.sum(dtype=np.int64)) for side in sides),
            **rows,
        }

    def per_update(self) -> dict[str, float]:
        """What one update reads on average: `tokens` (source and padding considered), `targets` and `bytes`.

        `targets` are those with weight in the loss, `bytes` what they stand for in the text.
        """
        counts = self.report["train"]
        if "problem" in counts:
            raise UserError(counts["problem"])
        share = self.batch_size / counts["rows"]
        lengths = {"fill": self.layout.length, "source_fill": self.layout.source_length}
        tokens = sum(counts[name] * length for name, length in lengths.items() if name in counts)
        return {
            "tokens": self.batch_size * tokens,
            "targets": share * counts["targets"],
            "bytes": share * counts["target_bytes"],
        }

    @cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of the content: equal data gives equal identities on every machine."""
        own = {"corpus_sha256": self.corpus.sha256, "tokenizer_sha256": self.tokenizer.sha256}
        return own | {f"tests.{name}_sha256": test.corpus.sha256 for name, test in self.tests.items()}

    def train_iterator(self, rows: Sequence[int] | None = None) -> grain.DatasetIterator:
        """Endless training batches, numpy. The rows are shuffled anew in every epoch; fewer than B are repeated.

        Args:
          rows: which of the B rows of each global batch are wanted, ascending; all if None. The stream and its state
            are those of the global batch: they do not depend on it.

        Returns:
          A grain iterator of `Batch`, with `get_state()`, `set_state()` (JSON-ready) and `close()`.

        Raises:
          UserError: if there are no such rows.
        """
        all_rows, wanted = self.rows("train"), self._wanted(rows)
        # grain shuffles epoch e with seed + e: neighbouring seeds would share their orders. Spread them.
        spread = int(np.random.SeedSequence(self.seed).generate_state(1)[0])
        # As good as endless: grain's own endless repetition is too long for its arithmetic with a batch of 1.
        index = grain.MapDataset.range(len(all_rows)).shuffle(seed=spread).repeat(_MOST // len(all_rows))
        if all_rows.draw is not None:
            index = index.map_with_index(partial(_keyed, spread=spread))
        index = index.batch(self.batch_size)
        if rows is not None:
            index = index.map(partial(_chosen, wanted_R=wanted))
        read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
        batches = index.map(all_rows.take if all_rows.draw is None else all_rows.take_keyed).to_iter_dataset(read)
        if self.workers:
            _parse_absl_flags()
            batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=self.workers))
        return iter(batches.map(_as_batch))

    def eval_batches(self, split: str, limit: int = 0, rows: Sequence[int] | None = None) -> Iterator[Batch]:
        """The rows of a split once, in order, numpy. The last batch is filled up with rows of weight 0.

        Args:
          limit: batches to give at most; 0 gives all.
          rows: which of the B rows of each global batch are wanted, ascending; all if None.

        Raises:
          UserError: if `split` or `limit` is wrong, or there are no such rows.
        """
        if limit < 0:
            raise UserError(f"limit={limit} evaluation batches: give a number, or 0 for all")
        all_rows, wanted = self.rows(split), self._wanted(rows)
        n_batches = -(-len(all_rows) // self.batch_size)
        firsts = np.arange(min(limit, n_batches) if limit else n_batches) * self.batch_size
        index_NR = firsts[:, None] + wanted
        return (all_rows.batch(np.where(index_R < len(all_rows), index_R, -1)) for index_R in index_NR)

    def _wanted(self, rows: Sequence[int] | None) -> np.ndarray:
        wanted_R = np.arange(self.batch_size) if rows is None else np.asarray(rows)
        if not len(wanted_R) or wanted_R.min() < 0 or wanted_R.max() >= self.batch_size:
            raise UserError(f"rows={rows}: give numbers from 0 to {self.batch_size - 1} of a batch's rows")
        return wanted_R


def _chosen(index_B: np.ndarray, wanted_R: np.ndarray) -> np.ndarray:
    return index_B[wanted_R]


def _keyed(position: int, row: int, spread: int) -> np.ndarray:
    """A row and its key: what is random in it follows from the seed and its place in the stream, epochs included."""
    return np.asarray([row, spread, position], np.int64)


def _as_batch(arrays: dict[str, np.ndarray]) -> Batch:
    # Copied, because what a worker sends lies in shared memory that leaks if it outlives the iterator.
    return Batch(**{name: np.array(array) for name, array in arrays.items()})


def _parse_absl_flags() -> None:
    """Lets grain start workers outside of `absl.app.run`."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
