"""The interface of a position scheme: three hooks, each of which does nothing by default."""

from transformer_jax.model.base import Part
from transformer_jax.registry import Registry

positions = Registry("position", "transformer_jax.model.position", base_fields=("arch", "causal"))


class Position(Part):
    """A scheme overrides the hooks it needs and no others.

    Two instances are made from one spec: one in the stack, whose `embed` and `bias` are called once per
    forward pass, and one in each self-attention, whose `rotate` is called per layer. Positions are true
    positions, 0, 1, 2, … inside a segment; they are handed in, never counted.

    Attributes:
      causal: whether the stack is (a decoder) or looks both ways (an encoder).
    """

    causal: bool

    @property
    def limit(self) -> int | None:
        """Positions from here on are undefined; None if it is defined at any length."""
        return None

    def embed(self, x_BLD, pos_BL):
        """The embeddings with positions added."""
        return x_BLD

    def bias(self, qpos_BL, kpos_BM):
        """float32 bias_BHLM on the attention logits, which may depend on positions but not on content."""
        return None

    def rotate(self, x_BLHK, pos_BL):
        """Queries or keys with positions worked in. Keys are cached as they are returned."""
        return x_BLHK
