"""JSON lines: one document, one pair or one labelled text, an object a line."""

import json
from collections.abc import Hashable
from dataclasses import dataclass

from transformer_jax.data.corpora.base import Corpus, Example, Splits, corpora
from transformer_jax.data.files import check_file, read_lines, shortened, stamp
from transformer_jax.data.splitting import by_content, check_fraction
from transformer_jax.errors import UserError


@corpora.register("jsonl")
@dataclass(frozen=True)
class Jsonl(Corpus):
    """Documents, `jsonl(path=…, field="text")`, or pairs, `jsonl(path=…, source="en", target="de")`.

    With `label="topic"` the documents are labelled: that key holds the label, a text.

    Attributes:
      path: the file, UTF-8.
      field: key of the document; 'text' if nothing is given.
      source, target: keys of the two sides of a pair; give both or none.
      label: key of a document's label.
      held_out: fraction for valid, and as much for test, by a hash of the document or the source.
      max_bad: broken lines that are skipped, counted and named in the report.
    """

    path: str = ""
    field: str = ""
    source: str = ""
    target: str = ""
    label: str = ""
    held_out: float = 0.05
    max_bad: int = 10

    @property
    def kind(self) -> str:
        return "pairs" if self.source or self.target else "labelled" if self.label else "documents"

    def check(self) -> None:
        check_fraction(self.held_out)
        check_file("jsonl", self.path)
        if bool(self.source) != bool(self.target) or ((self.field or self.label) and self.source):
            raise UserError(
                f"corpus 'jsonl', field={self.field!r}, source={self.source!r}, target={self.target!r}, "
                f"label={self.label!r}: give either field, with a label or without, or both source and target"
            )

    def stamp(self) -> Hashable:
        return stamp(self.path)

    def read(self) -> Splits:
        file = check_file("jsonl", self.path)
        examples, bad = read_lines("jsonl", file, self._parse, self.max_bad)
        splits = by_content(examples, self.held_out)
        splits.notes["bad_lines"] = bad
        return splits

    def _parse(self, line: str) -> Example:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
        except RecursionError:
            raise ValueError("not JSON (nested too deeply)") from None
        if not isinstance(record, dict):
            raise ValueError(f"not an object: {shortened(record)}")
        if self.kind == "pairs":
            return _string(record, self.source), _string(record, self.target)
        text = _string(record, self.field or "text")
        return (text, _string(record, self.label)) if self.label else text


def _string(record: dict, key: str) -> str:
    if key not in record:
        raise ValueError(f"no key {key!r}, only {shortened(list(record), 80)}")
    if not isinstance(record[key], str) or not record[key].strip():
        raise ValueError(f"{key!r} is no text: {shortened(record[key])}")
    try:
        record[key].encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair, which is no character
        raise ValueError(f"{key!r} has a lone surrogate: {shortened(record[key])}") from None
    return record[key]
