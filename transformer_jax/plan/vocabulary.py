"""The size of a vocabulary, where that is known before a tokenizer has been fitted."""

from transformer_jax.data.tokenizers.base import SPECIALS, tokenizers
from transformer_jax.data.views.base import complete, views
from transformer_jax.errors import UserError


def vocab_of(config, given: int | None = None) -> int:
    """V: the tokenizer's own number, as many as it is asked to fit, and the marks that the view adds.

    A text may hold less than a tokenizer is asked for: then it is an upper bound.

    Args:
      given: V itself; None takes the config's tokenizer.

    Raises:
      UserError: if it can only be known from the corpus.
    """
    if given is not None:
        if given <= SPECIALS:
            raise UserError(f"--vocab={given}: give {SPECIALS + 1} or more")
        return given
    tokenizer = tokenizers.build(config.data.tokenizer)
    size = getattr(tokenizer, "vocab", None)
    if size is None:
        if hasattr(tokenizer, "path"):
            try:
                tokenizer.train(())  # which reads a file and no text
            except UserError as error:
                raise UserError(f"data.tokenizer={config.data.tokenizer!r}: {error}") from None
        size = tokenizer.vocab_size
    return complete(tokenizer.marks, views.build(config.data.view).needs, size)[1]
