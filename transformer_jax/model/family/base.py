"""The interface of a family."""

from typing import ClassVar

from flax import linen as nn

from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.model.embedding import Embedding, embeddings
from transformer_jax.model.head import Head, heads
from transformer_jax.model.stack import Stack


class Family(nn.Module):
    """A complete model.

    `__call__(batch)` reads a `Batch` and returns float32 logits_BLV that predict `batch.targets_BL`.
    `train` turns on the randomness of training, `dropout` is its rate (None for none), which may be traced;
    both need an rng 'dropout'. `heads` is `{stack: {sublayer: factors [N, H]}}`, multiplied with the outputs of
    the heads of 'encoder' and 'decoder', 'attention' and 'cross'.
    With `cache_len`, which needs `mutable=['cache']`, the tokens are appended to a cache of that many slots;
    a batch without a source reads the one that the first call has cached.

    Attributes:
      headless: returns what the head reads instead, (y_BLD, the table that logits are products with or None).
      stacks: class attribute: 'encoder', 'decoder' or both, in the order in which they are run.
      causal: class attribute: the stacks in which a position sees nothing behind it.
      reads_source: class attribute: whether the decoder reads an encoder's output.
      reads_parts: class attribute: whether a batch must say which part of an example a token belongs to.
      generates: class attribute: whether it can write an answer token by token.
    """

    arch: Arch
    headless: bool = False

    stacks: ClassVar[tuple[str, ...]]
    causal: ClassVar[frozenset[str]] = frozenset()
    reads_source: ClassVar[bool] = False
    reads_parts: ClassVar[bool] = False
    generates: ClassVar[bool] = True

    def __call__(self, batch: Batch, *, train=False, dropout=None, heads=None, cache_len: int | None = None):
        raise NotImplementedError

    def embedding(self) -> Embedding:
        """The table that all stacks share; to be called inside a compact method, as the next two are."""
        return embeddings.build(self.arch.parts.embedding, arch=self.arch, name="embedding")

    def stack(self, name: str) -> Stack:
        """'encoder' or 'decoder'."""
        crossing = self.reads_source and name == "decoder"
        return Stack(self.arch, name, causal=name in self.causal, crossing=crossing, name=name)

    def logits(self, y_BLD, embedding: Embedding, seg_BL):
        """What the head makes of the last stack's output."""
        head: Head = heads.build(self.arch.parts.head, arch=self.arch, name="head")
        table_VD = embedding.out() if head.reads_table else None
        return (y_BLD, table_VD) if self.headless else head(y_BLD, table_VD, seg_BL)
