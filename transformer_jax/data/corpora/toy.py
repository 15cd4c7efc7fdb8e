"""Two prompts with one answer: the smallest thing that a decoder-only Transformer can be shown to learn."""

from dataclasses import dataclass

from transformer_jax.data.corpora.base import Corpus, Splits, corpora

_PAIRS = (("what is statquest", "awesome"), ("statquest is what", "awesome"))


@corpora.register("toy")
@dataclass(frozen=True)
class Toy(Corpus):
    """Train, valid and test are the same two examples by design: it shows fitting, not generalisation."""

    kind = "pairs"

    def read(self) -> Splits:
        return Splits(_PAIRS, _PAIRS, _PAIRS)
