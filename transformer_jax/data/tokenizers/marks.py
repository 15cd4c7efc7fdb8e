"""`marks_of`: the special tokens of a directory of Hugging Face, from all the files that tell of them."""

import json
import logging
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer as Backend

from transformer_jax.data.tokenizers.base import EOS, Marks
from transformer_jax.errors import UserError

_LOG = logging.getLogger(__name__)

# What tokens are usually called, for files that do not say which they are.
_ENDS = ("[SEP]", "</s>", "<|endoftext|>", "<eos>")
_MASKS = ("[MASK]", "<mask>")
_PADS = ("[PAD]", "<pad>")
_STARTS = ("[CLS]",)


def marks_of(directory: Path, vocab: int, backend: Backend | None = None) -> Marks:
    """What the files of a directory say about special tokens; ids that are out of range say nothing.

    The model's fields (generation_config.json, config.json) come before the tokenizer's, as in transformers' generate,
    these before what the tokenizer puts around a text, and that before what tokens are called.

    Args:
      vocab: V.
      backend: of tokenizer.json; None if there is none.

    Raises:
      UserError: if nothing says which token of a tokenizer.json ends a text.
    """
    model = _object(directory / "config.json") | _object(directory / "generation_config.json")
    told = _object(directory / "special_tokens_map.json") | _object(directory / "tokenizer_config.json")
    id_of = _lookup(directory, vocab, backend)
    opening, closing = _around(backend)

    def of_tokenizer(name: str) -> int | None:
        token = told.get(f"{name}_token")
        return id_of(token.get("content") if isinstance(token, dict) else token)

    def of_model(name: str) -> list[int]:
        value = model.get(f"{name}_token_id")
        values = value if isinstance(value, list) else [value]
        return [each for each in values if type(each) is int and 0 <= each < vocab]

    ends, own = of_model("eos"), of_tokenizer("eos")
    ends.sort(key=lambda token: token != own)  # the tokenizer's first, the others as they stand
    eos = _first(*ends[:1], own, of_tokenizer("sep"), closing, *map(id_of, _ENDS))
    eos = _unknown_end(directory, backend) if eos is None else eos
    pad = _first(of_tokenizer("pad"), *of_model("pad"), *map(id_of, _PADS), eos)
    if told.get("add_bos_token") is True:
        opening = _first(opening, of_tokenizer("bos"))
    encodes = bool(model.get("is_encoder_decoder"))
    if encodes:
        start = _first(*of_model("decoder_start"), pad)
    elif backend is None:
        start = _first(*of_model("bos"), of_tokenizer("bos"), *map(id_of, _STARTS), eos)
    else:  # a language model whose tokenizer puts nothing before a text has seen ends there
        start = _first(opening, eos)
    return Marks(
        pad=pad,
        eos=eos,
        start=start,
        source_start=opening if encodes else None,
        mask=_first(of_tokenizer("mask"), *map(id_of, _MASKS), _last_row(model, vocab) if backend is None else None),
        sentinels=_sentinels(backend),
        words=(0, vocab),
        ends=tuple(dict.fromkeys(ends)) if len(set(ends)) > 1 else (),
    )


def _lookup(directory: Path, vocab: int, backend: Backend | None) -> Callable[[object], int | None]:
    """Content of a token -> its id, from tokenizer.json, or from the list vocab.txt where there is none."""
    if backend is not None:
        return lambda content: backend.token_to_id(content) if isinstance(content, str) else None
    try:
        lines = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    listed = {line: i for i, line in enumerate(lines[:vocab])}
    return lambda content: listed.get(content) if isinstance(content, str) else None


def _around(backend: Backend | None) -> tuple[int | None, int | None]:
    """The tokens that the tokenizer puts first and last around a text, where it does."""
    if backend is None:
        return None, None
    for text in ("a", "0", *islice(backend.get_vocab(with_added_tokens=False), 50)):
        whole, plain = (backend.encode(text, add_special_tokens=add).ids for add in (True, False))
        for before in range(len(whole) - len(plain) + 1) if plain else ():
            if whole[before : before + len(plain)] == plain:
                after = len(whole) - len(plain) - before
                return whole[0] if before else None, whole[-1] if after else None
    return None, None


def _unknown_end(directory: Path, backend: Backend | None) -> int:
    looked = (
        f"{directory}: nothing says which token ends a text; looked for eos_token_id in generation_config.json and "
        "config.json, eos_token and sep_token in tokenizer_config.json and special_tokens_map.json, what the "
        f"tokenizer puts behind a text, and tokens called {', '.join(_ENDS)}"
    )
    if backend is not None:
        raise UserError(f"{looked}. Name it there: eos_token in tokenizer_config.json")
    # Texts are numbers then, and any of them can be what ends one.
    _LOG.warning("%s. There is no tokenizer.json: %d is taken; data.tokenizer='numbers(…)' sets another", looked, EOS)
    return EOS


def _sentinels(backend: Backend | None) -> tuple[int, ...]:
    """T5's, in the order in which they are used."""
    tokens: dict[str, int] = {} if backend is None else backend.get_vocab(with_added_tokens=True)
    numbered = {int(found[1]): i for token, i in tokens.items() if (found := re.fullmatch(r"<extra_id_(\d+)>", token))}
    return tuple(i for _, i in sorted(numbered.items()))


def _last_row(model: dict, vocab: int) -> int | None:
    """Something to hide tokens with, for a model of masked tokens whose tokenizer is not there."""
    return vocab - 1 if model.get("model_type") == "bert" else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _object(path: Path) -> dict:
    """The fields of a file that are not null; none if it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if value is not None} if isinstance(found, dict) else {}
