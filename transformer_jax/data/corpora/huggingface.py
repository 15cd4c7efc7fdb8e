"""Any data set of the Hugging Face hub, or one on disk, through the `datasets` library."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.data.corpora.base import Corpus, Example, Splits, corpora
from transformer_jax.data.files import shortened
from transformer_jax.data.splitting import by_content, check_fraction
from transformer_jax.errors import UserError, nearest


@corpora.register("huggingface")
@dataclass(frozen=True)
class HuggingFace(Corpus):
    """`huggingface(path="wmt14", config="de-en", source="translation.de", target="translation.en")`.

    Examples whose text is missing or empty are left out and counted.

    Attributes:
      path: its name on the hub, or a directory that `save_to_disk` wrote.
      config: of the data set, where it has several.
      field: key of the document; dots reach into nested records. 'text' if nothing is given.
      source, target: keys of the two sides of a pair; give both or none.
      train, valid, test: names of its splits. An empty `valid` and `test` hold out a part of train.
      held_out: fraction for valid, and as much for test, where they are held out.
      limit: examples of train at most, the first ones; 0 takes all.
    """

    path: str = ""
    config: str = ""
    field: str = ""
    source: str = ""
    target: str = ""
    train: str = "train"
    valid: str = "validation"
    test: str = "test"
    held_out: float = 0.05
    limit: int = 0

    @property
    def kind(self) -> str:
        return "pairs" if self.source or self.target else "documents"

    def check(self) -> None:
        check_fraction(self.held_out)
        if not self.path:
            raise UserError("corpus 'huggingface': give the data set, huggingface(path='…')")
        if bool(self.source) != bool(self.target) or (self.field and self.source):
            raise UserError(f"{self}: give either field, or both source and target")
        if bool(self.valid) != bool(self.test):
            raise UserError(f"{self}: give both valid and test, or neither (valid='', test='')")
        if self.limit < 0:
            raise UserError(f"{self}: limit={self.limit}: give the number of examples, or 0 for all")
        _library()

    def read(self) -> Splits:
        dataset = self._load()
        wanted = [name for name in (self.train, self.valid, self.test) if name]
        missing = [name for name in wanted if name not in dataset]
        if missing:
            raise UserError(
                f"{self}: no split {missing[0]!r}{nearest(missing[0], dataset)}; it has {', '.join(dataset)};"
                " name them with train, valid and test, or give valid='', test='' to hold out a part of train"
            )
        train = dataset[self.train]
        if self.limit:
            train = train.select(range(min(self.limit, len(train))))
        parts = {"train": self._examples(train)}
        if not self.valid:
            splits = by_content(parts["train"], self.held_out)
        else:
            parts |= {
                "valid": self._examples(dataset[self.valid]),
                "test": self._examples(dataset[self.test]),
            }
            splits = Splits(**parts)
        read = len(train) + (len(dataset[self.valid]) + len(dataset[self.test]) if self.valid else 0)
        splits.notes["empty"] = read - sum(map(len, parts.values()))
        return splits

    def _load(self):
        datasets = _library()
        try:
            if Path(self.path).expanduser().is_dir():
                loaded = datasets.load_from_disk(str(Path(self.path).expanduser()))
            else:
                loaded = datasets.load_dataset(self.path, self.config or None)
        except Exception as error:  # the library raises many kinds, for a wrong name, config or no network
            raise UserError(f"{self} cannot be loaded: {type(error).__name__}: {error}") from None
        return loaded if isinstance(loaded, datasets.DatasetDict) else {self.train: loaded}

    def _examples(self, records: Iterable[dict]) -> list[Example]:
        keys = (self.source, self.target) if self.kind == "pairs" else (self.field or "text",)
        columns = list(zip(*(self._column(records, key) for key in keys), strict=True))
        kept = [texts for texts in columns if all(text and text.strip() for text in texts)]
        return kept if self.kind == "pairs" else [text for (text,) in kept]

    def _column(self, records, key: str) -> list[str | None]:
        """The texts under a dotted key."""
        first, *rest = key.split(".")
        if first not in records.column_names:
            have = records.column_names
            raise UserError(f"{self}: no field {first!r}{nearest(first, have)}; it has {', '.join(have)}")
        values = list(records[first])
        for inner in rest:
            if not all(isinstance(value, dict) and inner in value for value in values):
                raise UserError(f"{self}: no field {inner!r} in {shortened(values[0], 80)} of {key!r}")
            values = [value[inner] for value in values]
        wrong = next((value for value in values if not isinstance(value, str | None)), None)
        if wrong is not None:
            raise UserError(f"{self}: the field {key!r} is no text: {shortened(wrong, 80)}")
        return values


def _library():
    try:
        import datasets
    except ImportError:
        raise UserError('corpus huggingface needs the library datasets: pip install "transformer_jax[hub]"') from None
    return datasets
