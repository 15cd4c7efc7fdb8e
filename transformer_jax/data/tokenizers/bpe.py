"""Byte-level byte-pair encoding, as in GPT-2 (Sennrich et al. 2016, Radford et al. 2019)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from transformer_jax.data.tokenizers.base import SPECIALS, UNK, Encoding, Tokenizer, as_arrays, tokenizers
from transformer_jax.errors import UserError

_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


@tokenizers.register("bpe")
@dataclass(eq=False)
class Bpe(Tokenizer):
    """Lossless: every byte is a token, and the most frequent neighbours are merged until `vocab` is reached.

    A small text may run out of merges first: `vocab_size` is what was reached.

    Attributes:
      vocab: size of the vocabulary, the 3 specials and 256 bytes included.
    """

    vocab: int = 4096

    def __post_init__(self):
        least = SPECIALS + len(_ALPHABET)
        if self.vocab < least:
            raise UserError(f"tokenizer bpe, vocab={self.vocab}: give at least {least} (specials and bytes)")
        self._adopt(Backend(models.BPE(vocab={c: i for i, c in enumerate(_ALPHABET)}, merges=[])))

    @property
    def vocab_size(self) -> int:
        return SPECIALS + self._backend.get_vocab_size()

    def train(self, texts: Iterable[str]) -> None:
        # The specials stay outside of the backend, which would otherwise find them written out in a text.
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab - SPECIALS,
            initial_alphabet=_ALPHABET,
            special_tokens=[],
            show_progress=False,
        )
        self._backend.train_from_iterator(texts, trainer)
        self._adopt(self._backend)

    def encode(self, text: str) -> Encoding:
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        ids_per_text = [np.asarray(encoding.ids, np.int32) for encoding in encodings]
        return [as_arrays(ids_E + SPECIALS, self._bytes_V[ids_E]) for ids_E in ids_per_text]

    def _decode(self, ids: list[int]) -> str:
        pieces, run = [], []
        for i in [*ids, UNK]:
            if i != UNK:
                run.append(i - SPECIALS)
                continue
            pieces.append(self._backend.decode(run, skip_special_tokens=False))
            run = []
        return "<unk>".join(pieces)

    def state(self) -> object:
        return json.loads(self._backend.to_str())

    def restore(self, state: object) -> None:
        try:
            self._adopt(Backend.from_str(json.dumps(state)))
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"no state of a BPE tokenizer: {error}") from None

    def _adopt(self, backend: Backend) -> None:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.decoder = decoders.ByteLevel()
        self._backend = backend
        # A token is written with one character of the byte-level alphabet for each byte.
        sizes = [len(backend.id_to_token(i)) for i in range(backend.get_vocab_size())]
        self._bytes_V = np.asarray(sizes, np.int32)
