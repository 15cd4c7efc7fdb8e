"""The interface of a head, and the form of those that classify whole sequences."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import Part, constrain, fan_in
from transformer_jax.model.products import product
from transformer_jax.registry import Registry

heads = Registry("head", "transformer_jax.model.head", base_fields=("arch",))


class Head(Part):
    """The last stack's output to logits.

    Attributes:
      reads_table: class attribute: whether it multiplies with the embedding table, or the output matrix in its place.
      classes: class attribute, or an argument: how many classes it tells apart; None for the vocabulary.
    """

    reads_table: ClassVar[bool] = True
    classes: ClassVar[int | None] = None

    def __call__(self, y_BLD, table_VD, seg_BL):
        """float32 logits_BLV.

        Args:
          table_VD: None where `reads_table` is False.
          seg_BL: `Batch.segments_BL`.
        """
        raise NotImplementedError

    def flops(self, length: int) -> float:
        """FLOPs of a row's forward pass, those of its parameter matrices included."""
        raise NotImplementedError

    def over_vocabulary(self, y_BLD, table_VD):
        """float32 products with the rows of the table that stand for a token."""
        logits_BLV = product("BLD,VD->BLV", y_BLD, table_VD, jnp.float32)
        logits_BLV = logits_BLV[..., : self.arch.dims.vocab]
        return constrain(logits_BLV, "act_batch", "act_length", "act_vocab")

    def token_bias(self):
        """Of the logits over the vocabulary, float32."""
        dims = self.arch.dims
        bias_V = self.weight("bias", (dims.vocab_rows,), ("vocab",), nn.initializers.zeros, dtype=jnp.float32)
        return bias_V[: dims.vocab]


class Pooled(Head):
    """One vector per segment to logits over classes, the same at every position of the segment.

    So an example to classify is a segment whose label is the target of its first token, and of no other.

    Attributes:
      classes: of the corpus.
    """

    classes: int = 2

    reads_table = False

    def problems(self):
        found = [] if self.classes >= 2 else [f"classes={self.classes}: give 2 or more"]
        if self.arch.execution.logits_chunks != 1:
            found.append("it reads a segment's positions together: give model.logits_chunks=1")
        if not self.arch.parts.tied_embeddings:
            found.append("it reads no output matrix of the model's: give model.tied_embeddings=True")
        return found

    def classify(self, pooled_BLD):
        """W y + b, in float32."""
        D = self.arch.dims.width
        out_DC = self.weight("out", (D, self.classes), ("width", None), fan_in(D))
        bias_C = self.weight("out_bias", (self.classes,), (None,), nn.initializers.zeros, dtype=jnp.float32)
        logits_BLC = product("BLD,DC->BLC", pooled_BLD, out_DC, jnp.float32)
        return logits_BLC + bias_C

    def flops(self, length):
        return 2.0 * length * self.arch.dims.width * self.classes
