"""The families: embed -> stack(s) -> logits."""

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.model.base import Part, constrain, fan_in
from transformer_jax.model.stack import Memory, Stack
from transformer_jax.registry import Registry

families = Registry("family", "transformer_jax.model.transformer", base_fields=("arch",))


class Embedding(Part):
    """Tokens to vectors and back.

    The table starts with variance 1 / D and is read times sqrt(D) (Vaswani et al. 2017, sec. 3.4): vectors
    of unit variance, beside which sinusoids do not drown, and logits of unit variance from the same table.
    """

    def setup(self):
        dims = self.arch.dims
        shape = (dims.vocab_rows, dims.width)
        self.table_VD = self.weight("table", shape, ("vocab", "width"), fan_in(dims.width))
        if not self.arch.parts.tied_embeddings:
            self.out_VD = self.weight("out", shape, ("vocab", "width"), fan_in(dims.width))

    def encode(self, tokens_BL):
        """x_BLD."""
        # Columns on fsdp would make the partitioner copy the whole table per lookup: gather them first.
        table_VD = constrain(self.table_VD, "vocab", None)
        x_BLD = table_VD[tokens_BL] * self.arch.dims.width**0.5
        return constrain(x_BLD, "act_batch", "act_length", "act_width")

    def decode(self, y_BLD):
        """logits_BLV in float32."""
        table_VD = self.table_VD if self.arch.parts.tied_embeddings else self.out_VD
        logits_BLV = jnp.einsum("BLD,VD->BLV", y_BLD, table_VD, preferred_element_type=jnp.float32)
        logits_BLV = logits_BLV[..., : self.arch.dims.vocab]
        return constrain(logits_BLV, "act_batch", "act_length", "act_vocab")


class Family(nn.Module):
    """A complete model.

    `__call__(batch)` reads a `Batch` and returns float32 logits_BLV that predict `batch.targets_BL`.
    `train` turns on the randomness of training, `dropout` is its rate (None for none), which may be traced;
    both need an rng 'dropout'. `heads` is `{stack: {sublayer: factors [N, H]}}`, multiplied with the outputs of
    the heads of 'encoder' and 'decoder', 'attention' and 'cross'.
    With `cache_len`, which needs `mutable=['cache']`, the tokens are appended to a cache of that many slots;
    a batch without a source reads the one that the first call has cached.
    """

    arch: Arch


@families.register("decoder_only")
class DecoderOnly(Family):
    """One causal stack for prompt and answer (Liu et al. 2018; GPT, Radford et al. 2018)."""

    @nn.compact
    def __call__(self, batch: Batch, *, train=False, dropout=None, heads=None, cache_len: int | None = None):
        embedding = Embedding(self.arch, name="embedding")
        decoder = Stack(self.arch, "decoder", causal=True, crossing=False, name="decoder")
        x_BLD = embedding.encode(batch.tokens_BL)
        y_BLD = decoder(
            x_BLD,
            batch.positions_BL,
            batch.segments_BL,
            train=train,
            dropout=dropout,
            heads=(heads or {}).get("decoder"),
            cache_len=cache_len,
        )
        return embedding.decode(y_BLD)


@families.register("encoder_decoder")
class EncoderDecoder(Family):
    """A stack that reads the source both ways, and a causal one that reads it (Vaswani et al. 2017).

    Source, target and output share one table (their sec. 3.4).
    """

    @nn.compact
    def __call__(self, batch: Batch, *, train=False, dropout=None, heads=None, cache_len: int | None = None):
        arch, heads, memory = self.arch, heads or {}, None
        embedding = Embedding(arch, name="embedding")
        encoder = Stack(arch, "encoder", causal=False, crossing=False, name="encoder")
        decoder = Stack(arch, "decoder", causal=True, crossing=True, name="decoder")
        if batch.source_BM is not None:
            pos_BM, seg_BM = batch.source_positions_BM, batch.source_segments_BM
            x_BMD = embedding.encode(batch.source_BM)
            x_BMD = encoder(x_BMD, pos_BM, seg_BM, train=train, dropout=dropout, heads=heads.get("encoder"))
            memory = Memory(x_BMD, pos_BM, seg_BM)
        y_BLD = decoder(
            embedding.encode(batch.tokens_BL),
            batch.positions_BL,
            batch.segments_BL,
            memory,
            train=train,
            dropout=dropout,
            heads=heads.get("decoder"),
            cache_len=cache_len,
        )
        return embedding.decode(y_BLD)
