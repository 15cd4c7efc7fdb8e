"""World English Bible: 4 million characters of modern English prose, public domain, offline."""

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from transformer_jax.data import bible
from transformer_jax.data.corpora.base import Corpus, Splits, corpora
from transformer_jax.data.splitting import without_leaks


@corpora.register("web")
@dataclass(frozen=True)
class Web(Corpus):
    """Modern English prose for language models.

    Attributes:
      split: 'book' holds out whole books and makes a document of each chapter; 'verse' holds out every
        30th verse and makes a document of each verse.
    """

    split: Literal["book", "verse"] = "book"

    def read(self) -> Splits:
        return {"book": _chapters, "verse": _verses}[self.split]()


def _chapters() -> Splits:
    chapters = groupby(bible.web_verses().items(), key=lambda item: bible.chapter(item[0]))
    documents = [[*verses] for _, verses in chapters]
    return bible.split_by_book((verses[0][0], " ".join(text for _, text in verses)) for verses in documents)


def _verses() -> Splits:
    return without_leaks(bible.split_by_verse(bible.web_verses().items()))
