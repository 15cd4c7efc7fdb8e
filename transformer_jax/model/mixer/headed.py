"""`Headed`: recurrences with queries, keys and values of H heads."""

from transformer_jax.model.base import constrain, fan_in
from transformer_jax.model.mixer.recurrent import Recurrent
from transformer_jax.model.products import product


class Headed(Recurrent):
    """The projections into heads and out of them, which linear attention and retention share."""

    has_heads = True

    @property
    def heads(self) -> int:
        return self.arch.dims.heads

    def project(self, x_BLD, name: str, size: int, layer):
        """x W, a vector of `size` per head."""
        D = self.arch.dims.width
        w_DHK = self.weight(name, (D, self.heads, size), ("width", "heads", "head_size"), fan_in(D), layer)
        return constrain(product("BLD,DHK->BLHK", x_BLD, w_DHK), "act_batch", "act_length", "act_heads", None)

    def output(self, heads_BLHV, layer):
        """concat(heads) W_o, each head multiplied with its factor of `layer.heads`, if there are any."""
        D, (H, V) = self.arch.dims.width, heads_BLHV.shape[2:]
        heads_BLHV = heads_BLHV.astype(self.dtype)
        if layer.heads is not None:
            heads_BLHV = heads_BLHV * layer.heads["attention"].astype(self.dtype)[:, None]
        out_HVD = self.weight("out", (H, V, D), ("heads", "head_size", "width"), fan_in(H * V), layer)
        return product("BLHV,HVD->BLD", heads_BLHV, out_HVD)
