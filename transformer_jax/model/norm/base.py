"""The interface of a norm."""

from transformer_jax.model.base import Part
from transformer_jax.registry import Registry

norms = Registry("norm", "transformer_jax.model.norm", base_fields=("arch",))


class Norm(Part):
    """`x_BLD -> y_BLD`, each position by itself; computed in float32, returned in the dtype of `x`."""

    def __call__(self, x_BLD):
        raise NotImplementedError

    def problems(self) -> list[str]:
        eps = getattr(self, "eps", 1.0)
        return [] if eps > 0 else [f"eps={eps}: give a number above 0"]
