"""Several residual streams that are mixed around each sublayer."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.residual.base import Residual, residuals
from transformer_jax.shapes import Array, Float, checked


@checked
def mix(streams_BLSD: Float[Array, "B L S D"], alpha: Float[Array, "*BL S C"]) -> Float[Array, "B L C D"]:
    """Sums of the streams with weights alpha: C = S + 1, the first is the sublayer's input, the others go on.

    Args:
      alpha: the same at all positions, or with the axes B and L.
    """
    return jnp.einsum("...SC,...SD->...CD", alpha, streams_BLSD)


@residuals.register("hyper_connections")
class HyperConnections(Residual):
    """H' = A_r^T H + β f(N(A_m^T H))^T, H of S streams (Zhu et al. 2024, arXiv 2409.19606, alg. 2).

    N(Σ_s H_s) at the end. A_m and A_r (the columns of `alpha`) and β are learned; with `dynamic` they move with
    each position: alpha + s_α tanh(N(H) W_α), β + s_β tanh(N(H) W_β). They start so that sublayer k reads
    stream k mod S and adds to all, which is pre-norm.
    """

    streams: int = 4
    dynamic: bool = True

    cost = "streams B L D to carry and mix"

    def setup(self):
        self.normalise = self.norm()
        self.normalise_dynamic = self.norm("norm_dynamic")

    def problems(self):
        return [] if self.streams > 0 else [f"streams={self.streams}: give 1 or more"]

    def open(self, x_BLD):
        return jnp.repeat(x_BLD[:, :, None], self.streams, axis=2)

    def flops(self, length):
        S, D = self.streams, self.arch.dims.width
        return 2.0 * length * S * D * (S + 1 + self.dynamic)  # mixed, and β moved

    def multiplied(self, name, length):
        return self.streams * length

    @nn.compact
    def __call__(self, stream, branch, *, layer):
        S, D = self.streams, stream.shape[-1]
        names = self.arch.sublayers(self.stack)
        reads = (layer.index * len(names) + names.index(self.sublayer)) % S

        def initial_alpha(_, shape, dtype):
            return jnp.concatenate([jax.nn.one_hot(reads, S, dtype=dtype)[:, None], jnp.eye(S, dtype=dtype)], axis=1)

        alpha = self.weight("alpha", (S, S + 1), (None, None), initial_alpha, layer)
        beta = self.weight("beta", (S,), (None,), nn.initializers.ones)
        if self.dynamic:
            zeros, small = nn.initializers.zeros, nn.initializers.constant(0.01)
            normed_BLSD = self.normalise_dynamic(stream)
            alpha_DC = self.weight("alpha_dynamic", (D, S + 1), ("width", None), zeros)
            beta_D = self.weight("beta_dynamic", (D,), ("norm",), zeros)
            moved_BLSC = jnp.tanh(jnp.einsum("BLSD,DC->BLSC", normed_BLSD, alpha_DC))
            moved_BLS = jnp.tanh(jnp.einsum("BLSD,D->BLS", normed_BLSD, beta_D))
            alpha = alpha + self.weight("alpha_scale", (), (), small) * moved_BLSC
            beta = beta + self.weight("beta_scale", (), (), small) * moved_BLS
        mixed_BLCD = mix(stream, alpha)
        y_BLD = branch(self.normalise(mixed_BLCD[:, :, 0]))
        return mixed_BLCD[:, :, 1:] + beta[..., None] * y_BLD[:, :, None]

    def close(self, stream):
        return self.normalise(stream.sum(2))
