"""Modern English to King James English, aligned by verse: a translation task that is offline."""

from dataclasses import dataclass
from typing import Literal

from transformer_jax.data import bible
from transformer_jax.data.corpora.base import Corpus, Splits, corpora
from transformer_jax.data.splitting import without_leaks


@corpora.register("web_kjv")
@dataclass(frozen=True)
class WebKjv(Corpus):
    """Pairs (World English Bible, King James Version) of one verse each; no text of test occurs in train.

    Attributes:
      split: 'verse' holds out every 30th verse, 'book' holds out whole books.
    """

    split: Literal["verse", "book"] = "verse"

    kind = "pairs"

    def read(self) -> Splits:
        web, kjv = bible.web_verses(), bible.kjv_verses()
        pairs = [(verse, (web[verse], kjv[verse])) for verse in web if verse in kjv]
        split = {"verse": bible.split_by_verse, "book": bible.split_by_book}[self.split]
        return without_leaks(split(pairs))
