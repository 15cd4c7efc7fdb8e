"""The interface of a residual scheme, which owns the skip, the norm's placement, scales and gates."""

from collections.abc import Callable

from transformer_jax.model.base import Layer, Part
from transformer_jax.model.norm import Norm, norms
from transformer_jax.registry import Registry

residuals = Registry("residual", "transformer_jax.model.residual", base_fields=("arch", "sublayer", "stack"))


class Residual(Part):
    """One instance per sublayer, and one at the end of the stack whose `close` is called.

    Attributes:
      sublayer: 'attention', 'cross' or 'ffn'; 'stack' for the instance at the end.
      stack: 'encoder' or 'decoder'.
    """

    sublayer: str
    stack: str

    @property
    def depth(self) -> int:
        """The number of layers of this stack."""
        return self.arch.depth(self.stack)

    def gains(self) -> dict[str, float]:
        """Factors of the initial values of the sublayer's parameters, by name: 'value', 'out', 'in', 'gate', …"""
        return {}

    def scaled(self, layer: Layer) -> Layer:
        """The layer as the sublayer's parameters see it, with `gains`."""
        return layer.replace(gains=tuple(sorted(self.gains().items())))

    def open(self, x_BLD):
        """The stream that the first block takes, from the embeddings. Free of parameters; any pytree."""
        return x_BLD

    def __call__(self, stream, branch: Callable, *, layer: Layer):
        """The next stream. `branch(x_BLD) -> y_BLD` is the sublayer itself, dropout included.

        A branch is closed (bias added) before the sum; the other order makes XLA's fusion explode with
        depth on CPUs.
        """
        raise NotImplementedError

    def close(self, stream):
        """What the logits are computed from."""
        return stream

    def flops(self, length: int) -> float:
        """FLOPs of one sublayer's forward pass over a row, beside those of its parameter matrices."""
        return 0.0

    def multiplied(self, name: str, length: int) -> float:
        """With how many vectors of a row the parameter matrix `name` is multiplied."""
        return length

    def norm(self, name: str = "norm") -> Norm:
        """A norm that `model.norm` names, to be called inside a compact method or `setup`."""
        return norms.build(self.arch.parts.norm, arch=self.arch, name=name)


class PreNorm(Residual):
    """The form of most: x + f(N(x)), and N at the end of the stack; a variant changes what it changes."""

    def setup(self):
        self.normalise = self.norm()

    def __call__(self, stream, branch, *, layer):
        return stream + branch(self.normalise(stream))

    def close(self, stream):
        return self.normalise(stream)
