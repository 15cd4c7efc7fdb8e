"""The first layer's values in every layer."""

import jax.numpy as jnp

from transformer_jax.errors import UserError
from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.mixer.base import mixers

CARRIED = "value_residual"


@mixers.register("value_residual")
class ValueResidual(Attention):
    """v_l = own v_l + first v_1 in all layers above the first (ResFormer, Zhou et al. 2024, arXiv 2410.17897, sec. 3).

    The first layer of a stack that has this mixer gives v_1 and keeps it as it is. 1/2 and 1/2 is the paper's
    identity-ResFormer.

    Attributes:
      own, first: the two factors.
      learned: whether each layer learns its two factors from there; the first layer's stay unread.
    """

    own: float = 0.5
    first: float = 0.5
    learned: bool = False

    places = frozenset({"self"})
    cost = "B L G K values carried through the layers"

    @classmethod
    def open(cls, arch, x_BLD):
        """v_1 and whether it is there yet."""
        specs = [spec for spec in arch.parts.distinct("mixer") if mixers.lookup(spec) is cls]
        groups = {mixers.arguments(spec).get("kv_heads") or arch.dims.heads for spec in specs}
        if len(groups) > 1:
            raise UserError(
                f"model.mixer={arch.parts.mixer!r}: layers with {sorted(groups)} key-value heads cannot add each "
                "other's values; give all value_residual layers the same kv_heads"
            )
        v_BLGK = jnp.zeros((*x_BLD.shape[:2], *groups, arch.dims.head_size), x_BLD.dtype)
        return {CARRIED: (v_BLGK, jnp.zeros((), bool))}

    def problems(self):
        found = super().problems()
        if self.crossing:
            found.append("the memory is the same in all layers: value_residual is for self-attention")
        if self.kept is not None:
            found.append(f"kept={self.kept}: layers above read the values of all heads of the first; give None")
        return found

    def values(self, v_BMGK, layer, carried):
        first_BMGK, seen = carried[CARRIED]
        carried[CARRIED] = (jnp.where(seen, first_BMGK, v_BMGK.astype(first_BMGK.dtype)), jnp.ones((), bool))
        own, first = self.own, self.first
        if self.learned:
            own, first = self.weight("mix", (2,), (None,), lambda *_: jnp.array([self.own, self.first], jnp.float32))
        return jnp.where(seen, own * v_BMGK + first * first_BMGK, v_BMGK)
