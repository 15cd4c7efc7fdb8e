"""Multi-head latent attention."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from transformer_jax.model.base import fan_in
from transformer_jax.model.mixer.attention import Attention, whole
from transformer_jax.model.mixer.base import mixers
from transformer_jax.model.norm import norms
from transformer_jax.model.position import positions


@mixers.register("latent")
class Latent(Attention):
    """q = [q_c, R q_r], k = [c W_K, R x W_R], v = c W_V, c = N(x W_D) (DeepSeek-V2 2024, arXiv 2405.04434, eq. 9-19).

    Multi-head latent attention: of keys and values only c, of size C, and R x W_R, of size E, are cached. Heads are
    formed from c whenever it is read; absorbing W_K in the queries would give the same. Positions (R) act on the
    decoupled parts only, because rotations do not commute with W_K; that of the keys is shared by the heads.
    `qk_norm` is over the other parts.

    Attributes:
      rank: C; None for 4 K, as in the paper.
      query_rank: size of a latent vector that queries are formed from; None for x itself.
      rope_size: E; None for K / 2, as in the paper.
    """

    rank: int | None = None
    query_rank: int | None = None
    rope_size: int | None = None

    reads = frozenset({"bias", "query", "key"})
    places = frozenset({"self"})
    cost = "caches C + E numbers per position in place of 2 G K; projections back to H K per position read"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """K, E and C."""
        K = self.arch.dims.head_size
        E = max(2, K // 4 * 2) if self.rope_size is None else self.rope_size
        return K, E, 4 * K if self.rank is None else self.rank

    @property
    def decoupled_arch(self):
        """The architecture as a position scheme sees it: heads of the decoupled size."""
        return dataclasses.replace(self.own_arch, dims=dataclasses.replace(self.own_arch.dims, head_size=self.sizes[1]))

    def problems(self):
        found = super().problems()
        if self.crossing:
            found.append("latent attention caches a growing row: it is for self-attention, a memory is cached once")
        if self.kv_heads is not None:
            found.append(f"kv_heads={self.kv_heads}: all heads are formed from one latent vector; give None")
        for name in ("rank", "query_rank", "rope_size"):
            size = getattr(self, name)
            if size is not None and size < 1:
                found.append(f"{name}={size}: give at least 1, or None")
        position = positions.build(self.position, arch=self.decoupled_arch, causal=self.causal, parent=None)
        unfit = sorted(position.hooks() - self.reads)
        if unfit:
            found.append(
                f"model.position={self.position!r} acts through {', '.join(unfit)}, on heads of the model's size: in "
                "latent attention positions act on a shared key of another size; give a rotation, or a plain bias"
            )
        if not found:
            found += [f"rope_size={self.sizes[1]}: {problem}" for problem in position.problems()]
        return found

    def flops(self, length, memory_length):
        # The values are as long as the keys, with zeros behind them (see `mix`).
        K, E, _ = self.sizes
        return 2.0 * self.products * self.heads * (K + E) * length * memory_length

    @nn.compact
    def __call__(self, x_BLD, memory_BMD, *, ctx, layer, carried):
        position = positions.build(self.position, arch=self.decoupled_arch, causal=self.causal, name="position")
        q_BLHK = self.queries(x_BLD, position, ctx, layer)
        k_BMHK, v_BMHK = whole(*self.keys_values(x_BLD, memory_BMD, position, ctx, layer, carried))
        heads_BLHK = self.mix(q_BLHK, k_BMHK, v_BMHK, position, ctx, layer)
        return self.output(self.finish(heads_BLHK, x_BLD, layer), layer)

    def queries(self, x_BLD, position, ctx, layer):
        """q_BLHK, K + E entries each."""
        K, E, _ = self.sizes
        name, axis = "query", "width"
        if self.query_rank is not None:
            x_BLD = self.latent(x_BLD, "query_down", self.query_rank, "query_latent_norm", layer)
            name, axis = "query_up", None
        q_BLHK = self.dense(x_BLD, name, axis, {"heads": self.heads, "head_size": K}, layer)
        turned_BLHE = self.dense(x_BLD, "query_rope", axis, {"heads": self.heads, None: E}, layer)
        return jnp.concatenate([self.normed(q_BLHK, "query_norm"), position.query(turned_BLHE, ctx)], -1)

    def keys_values(self, x_BLD, memory_BMD, position, ctx, layer, carried):
        K, E, C = self.sizes
        c_BLC = self.latent(x_BLD, "down", C, "latent_norm", layer)
        k_BL1E = position.key(self.dense(x_BLD, "key_rope", "width", {None: E}, layer)[:, :, None], ctx)
        c_BMC, k_BM1E = self.append(ctx, latent=c_BLC, key=k_BL1E)
        heads = {"heads": self.heads, "head_size": K}
        k_BMHK = self.normed(self.dense(c_BMC, "key_up", None, heads, layer), "key_norm")
        shared_BMHE = jnp.broadcast_to(k_BM1E, (*k_BMHK.shape[:3], E))
        return jnp.concatenate([k_BMHK, shared_BMHE], -1), self.dense(c_BMC, "value_up", None, heads, layer)

    def mix(self, q_BLHK, k_BMGK, v_BMGK, position, ctx, layer):
        """With zeros behind the values: kernels want them as long as the keys."""
        K, E, _ = self.sizes
        v_BMGK = jnp.pad(v_BMGK, ((0, 0), (0, 0), (0, 0), (0, E)))
        return super().mix(q_BLHK, k_BMGK, v_BMGK, position, ctx, layer)[..., :K]

    def fuses(self, position):
        """As ever, where the longer queries and keys still fit in cuDNN's kernel."""
        size = sum(self.sizes[:2])
        fits = self.arch.execution.attention != "cudnn" or (size % 8 == 0 and size <= 128)
        return fits and super().fuses(position)

    def latent(self, x_BLD, name: str, size: int, norm: str, layer):
        """RMSNorm(x W (+ b)), the compressed vector."""
        compressed_BLC = self.dense(x_BLD, name, "width", {None: size}, layer)
        return norms.build("rmsnorm(eps=1e-6)", arch=self.arch, name=norm)(compressed_BLC)

    def dense(self, x_BLI, name: str, axis: str | None, out: dict[str | None, int], layer):
        """x W (+ b) from the last dimension, of logical name `axis`, to one or two with the names and sizes `out`."""
        axes, sizes = tuple(out), tuple(out.values())
        w = self.weight(name, (x_BLI.shape[-1], *sizes), (axis, *axes), fan_in(x_BLI.shape[-1]), layer)
        y = jnp.tensordot(x_BLI, w, 1)
        if self.arch.parts.bias:
            y += self.weight(f"{name}_bias", sizes, axes, nn.initializers.zeros)
        return y
