"""Tab-separated pairs: source, tab, target."""

from collections.abc import Hashable
from dataclasses import dataclass

from transformer_jax.data.corpora.base import Corpus, Splits, corpora
from transformer_jax.data.files import check_file, read_lines, shortened, stamp
from transformer_jax.data.splitting import by_content, check_fraction


@corpora.register("tsv")
@dataclass(frozen=True)
class Tsv(Corpus):
    """One pair a line, without a header.

    Attributes:
      path: the file, UTF-8.
      held_out: fraction for valid, and as much for test, by a hash of the source.
      max_bad: broken lines that are skipped, counted and named in the report.
    """

    path: str = ""
    held_out: float = 0.05
    max_bad: int = 10

    kind = "pairs"

    def check(self) -> None:
        check_fraction(self.held_out)
        check_file("tsv", self.path)

    def stamp(self) -> Hashable:
        return stamp(self.path)

    def read(self) -> Splits:
        file = check_file("tsv", self.path)
        pairs, bad = read_lines("tsv", file, _parse, self.max_bad)
        splits = by_content(pairs, self.held_out)
        splits.notes["bad_lines"] = bad
        return splits


def _parse(line: str) -> tuple[str, str]:
    columns = line.split("\t")
    if len(columns) != 2:
        raise ValueError(f"{len(columns)} columns in place of 2: {shortened(line)}")
    source, target = columns
    if not source.strip() or not target.strip():
        raise ValueError(f"an empty side: {shortened(line)}")
    return source, target
