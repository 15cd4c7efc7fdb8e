"""The tokenizer that a run has saved."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.data.tokenizers.base import Encoding, Marks, Tokenizer, from_json, load_tokenizer, tokenizers
from transformer_jax.errors import UserError


@tokenizers.register("saved")
@dataclass(eq=False)
class Saved(Tokenizer):
    """That of a run directory, so that a run on another corpus can begin from its parameters.

    Attributes:
      path: a run directory, or a tokenizer.json of this package. Read when it is fitted.
    """

    path: str = ""

    def __post_init__(self):
        self._own: Tokenizer | None = None

    @property
    def own(self) -> Tokenizer:
        """What was saved."""
        if self._own is None:
            raise UserError(f"tokenizer {self.spec!r} has not been read yet")
        return self._own

    def check(self) -> None:
        if not self.path:
            raise UserError("tokenizer saved: give path=…, a run directory")

    def train(self, texts: Iterable[str]) -> None:
        """Reads `path`; the texts are not looked at."""
        self.check()
        path = Path(self.path).expanduser()
        self._own = load_tokenizer(path / "tokenizer.json" if path.is_dir() else path)

    @property
    def vocab_size(self) -> int:
        return self.own.vocab_size

    @property
    def marks(self) -> Marks:
        return self.own.marks

    def encode(self, text: str) -> Encoding:
        return self.own.encode(text)

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        return self.own.encode_many(texts)

    def decode(self, ids: Sequence[int]) -> str:
        return self.own.decode(ids)

    @property
    def sha256(self) -> str:
        """That of what was saved, wherever it lies."""
        return self.own.sha256

    def state(self) -> object:
        return json.loads(self.own.to_json())

    def restore(self, state: object) -> None:
        self._own = from_json(json.dumps(state))
