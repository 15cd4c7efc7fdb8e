"""Long skips from the lower half of a stack to its upper half."""

import jax
import jax.numpy as jnp

from transformer_jax.model.residual.base import PreNorm, residuals


@residuals.register("unet")
class UNet(PreNorm):
    """x + f(N(x)), N at the end; layer depth-1-i also reads layer i's output (Bao 2023, arXiv 2209.12152, sec. 3.1).

    For i < floor(depth / 2), by their skip without parameters: the sum. The stream is (x, memory) with
    the outputs of the lower half, memory_BLnD.
    """

    cost = "B L D depth/2 to carry"

    @property
    def half(self) -> int:
        """How many layers are remembered."""
        return self.depth // 2

    def open(self, x_BLD):
        B, L, D = x_BLD.shape
        return x_BLD, jnp.zeros((B, L, self.half, D), x_BLD.dtype)

    def __call__(self, stream, branch, *, layer):
        x_BLD, memory_BLnD = stream
        if self.sublayer == "attention" and self.half:  # the first of its layer
            x_BLD = x_BLD + self._recalled(memory_BLnD, layer.index)
        x_BLD = x_BLD + branch(self.normalise(x_BLD))
        if self.sublayer == "ffn" and self.half:  # the last
            memory_BLnD = self._remembered(memory_BLnD, layer.index, x_BLD)
        return x_BLD, memory_BLnD

    def close(self, stream):
        return self.normalise(stream[0])

    def _recalled(self, memory_BLnD, index):
        """The output of this layer's partner, 0 below the upper half."""
        partner = self.depth - 1 - index
        y_BLD = jax.lax.dynamic_index_in_dim(memory_BLnD, jnp.minimum(partner, self.half - 1), 2, keepdims=False)
        return jnp.where(partner < self.half, y_BLD, 0)

    def _remembered(self, memory_BLnD, index, x_BLD):
        """The memory with this layer's output, if it is of the lower half."""
        slot = jnp.minimum(index, self.half - 1)
        return jnp.where(
            index < self.half, jax.lax.dynamic_update_index_in_dim(memory_BLnD, x_BLD, slot, 2), memory_BLnD
        )
