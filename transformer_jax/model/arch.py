"""`Arch`: everything static about a model, hashable, so that equal models share one compiled program."""

import math
from dataclasses import dataclass, replace

from transformer_jax.model.family.registry import families
from transformer_jax.model.kernel import resolve
from transformer_jax.registry import parse_pattern

UNROLLED = 12  # layers that 'auto' unrolls at most

# Keys of `Parts` that may differ from layer to layer.
PATTERNED = ("position", "mixer", "encoder_mixer", "cross_mixer", "ffn")


@dataclass(frozen=True)
class Dims:
    """Sizes. `length` is the longest row that the model is trained and evaluated on."""

    width: int  # D
    heads: int  # H
    head_size: int  # K
    ffn_size: int  # F
    vocab: int  # V
    vocab_rows: int  # rows of the embedding table, at least V
    length: int


@dataclass(frozen=True)
class Parts:
    """The spec of every part that can be switched; those in PATTERNED may be patterns over layers."""

    position: str
    residual: str
    mixer: str
    encoder_mixer: str
    cross_mixer: str
    ffn: str
    norm: str
    embedding: str
    embedding_norm: str
    head: str
    adapter: str
    bias: bool  # biases in projections
    tied_embeddings: bool

    def of(self, stack: str) -> "Parts":
        """Those of 'encoder' or 'decoder': what the other one has of its own is blanked out."""
        if stack == "encoder":
            return replace(self, mixer=self.encoder_mixer, encoder_mixer="none", cross_mixer="none")
        return replace(self, encoder_mixer="none")

    @property
    def period(self) -> int:
        """After how many layers all patterns repeat."""
        return math.lcm(*(len(parse_pattern(getattr(self, key))) for key in PATTERNED))

    def at(self, layer: int) -> "Parts":
        """The parts of one layer, one spec each."""
        patterns = {key: parse_pattern(getattr(self, key)) for key in PATTERNED}
        return replace(self, **{key: specs[layer % len(specs)] for key, specs in patterns.items()})

    def distinct(self, key: str) -> tuple[str, ...]:
        """The different specs of a pattern, in order of first appearance."""
        return tuple(dict.fromkeys(parse_pattern(getattr(self, key))))


@dataclass(frozen=True)
class Execution:
    """How it is computed, which does not change what is computed (but for rounding)."""

    dtype: str
    stack: str  # scan or unroll: 'auto' has been resolved; split: every layer has parameters and cache of its own
    remat: str
    attention: str  # spec of a kernel: 'auto' has been resolved
    logits_chunks: int = 1


@dataclass(frozen=True)
class Arch:
    family: str
    layers: int  # of the decoder stack
    encoder_layers: int
    dims: Dims
    parts: Parts
    execution: Execution

    def of(self, stack: str) -> "Arch":
        """The architecture as 'encoder' or 'decoder' sees it."""
        parts = self.parts.of(stack)
        return replace(self, parts=parts if "cross" in self.sublayers(stack) else replace(parts, cross_mixer="none"))

    def at(self, layer: int) -> "Arch":
        """The architecture as one layer sees it: its own specs in place of patterns."""
        return replace(self, parts=self.parts.at(layer))

    def depth(self, stack: str) -> int:
        """The number of layers of 'encoder' or 'decoder'."""
        return {"encoder": self.encoder_layers, "decoder": self.layers}[stack]

    def period(self, stack: str) -> int:
        """How many layers a step of the scan over layers has, of the architecture as `stack` sees it."""
        return self.depth(stack) if self.execution.stack == "split" else self.parts.period

    @property
    def stacks(self) -> tuple[str, ...]:
        """'encoder', 'decoder' or both, in the order in which they are run."""
        return families.lookup(self.family).stacks

    @property
    def reads_source(self) -> bool:
        """Whether a batch must have a source."""
        return families.lookup(self.family).reads_source

    def causal(self, stack: str) -> bool:
        """Whether a position of 'encoder' or 'decoder' sees nothing behind it."""
        return stack in families.lookup(self.family).causal

    def sublayers(self, stack: str) -> tuple[str, ...]:
        """The sublayers of each layer of 'encoder' or 'decoder', in order."""
        crossing = self.reads_source and stack == "decoder"
        return ("attention", "cross", "ffn") if crossing else ("attention", "ffn")

    @classmethod
    def from_config(cls, config, *, vocab: int, platform: str) -> "Arch":
        """The architecture of a validated config.

        Args:
          config: the complete ConfigDict (its `model` and `data` sections are read).
          vocab: the tokenizer's vocabulary size.
          platform: 'cpu', 'gpu' or 'tpu', which resolves `model.attention='auto'` and `model.stack='auto'`.
        """
        m = config.model
        head_size = m.head_size if m.head_size is not None else m.width // m.heads
        length = config.data.length
        if families.lookup(m.family).reads_source:
            length = max(length, config.data.source_length)
        rows = -(-vocab // m.vocab_multiple) * m.vocab_multiple
        return cls(
            family=m.family,
            layers=m.layers,
            encoder_layers=m.encoder_layers,
            dims=Dims(m.width, m.heads, head_size, m.ffn_size, vocab, rows, length),
            parts=Parts(
                m.position,
                m.residual,
                m.mixer,
                m.encoder_mixer,
                m.cross_mixer,
                m.ffn,
                m.norm,
                m.embedding,
                m.embedding_norm,
                m.head,
                m.adapter,
                m.bias,
                m.tied_embeddings,
            ),
            execution=Execution(
                m.dtype, resolve_stack(config, platform), m.remat, resolve(config, platform), m.logits_chunks
            ),
        )


def resolve_stack(config, platform: str) -> str:
    """What `model.stack` stands for.

    On CPUs, the only devices that this was measured on (benchmarks/RESULTS.md), unrolled layers are faster while there
    are few of them. Elsewhere, and where layers are computed again in the backward pass, which XLA:CPU undoes when they
    are unrolled, layers are scanned.
    """
    m = config.model
    if m.stack != "auto":
        return m.stack
    stacks = families.lookup(m.family).stacks
    deepest = max({"encoder": m.encoder_layers, "decoder": m.layers}[stack] for stack in stacks)
    return "unroll" if platform == "cpu" and m.remat == "none" and deepest <= UNROLLED else "scan"
