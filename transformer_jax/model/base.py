"""What every part of a model stands on: the context of a call, the layer's own data, parameters, sharding."""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from transformer_jax.model.arch import Arch
from transformer_jax.shapes import Array

# The scanned module's name. What follows it in a parameter's path is the same for every layer, scanned or not.
LAYERS = "layers"


@struct.dataclass
class Context:
    """What all layers of one call share; made once per stack and kind (self, cross).

    Attributes:
      qpos_BL: int32 true positions of the queries, and of the keys that are appended with them.
      mask_B1LM: bool, True where a query may look.
      bias_BHLM: float32 content-free term of the logits, or None.
      cursor: int32 scalar, the first free slot of the cache.
      cache_len: slots of the cache; None means that there is none.
    """

    qpos_BL: Array
    mask_B1LM: Array
    bias_BHLM: Array | None = None
    cursor: Array | None = None
    cache_len: int | None = struct.field(pytree_node=False, default=None)


@struct.dataclass
class Layer:
    """What belongs to one layer; scanned, with a leading axis N outside of the scan.

    `key` seeds the layer's parameters at initialisation and its dropout in training. It is folded from the
    layer's global index, so that scanned and unrolled stacks initialise and drop alike.
    """

    key: Array | None = None
    dropout: Array | None = None


class Part(nn.Module):
    """A thin holder of parameters. The maths of a variant lives in pure functions beside it."""

    arch: Arch

    @property
    def dtype(self) -> jnp.dtype:
        """Of the computation; parameters are float32."""
        return jnp.dtype(self.arch.execution.dtype)

    def problems(self) -> list[str]:
        """Why this variant cannot be used in `self.arch`, a sentence each. Called before anything compiles."""
        return []

    def weight(self, name: str, shape: tuple[int, ...], axes: tuple[str, ...], init: Callable, layer=None):
        """A float32 parameter with logical axis names, handed out in the dtype of the computation.

        Args:
          axes: a logical name for each dimension; parallel/rules.py says where each lies.
          init: `(key, shape, dtype) -> array`.
          layer: the `Layer` for parameters inside a block. Their keys come from the layer's index and from
            the path below the block, not from flax's counters, which differ between scanned and unrolled
            stacks; so members of a comparison that share a name and shape share the values too.
        """

        def initialise(key, shape, dtype):
            if layer is not None and layer.key is not None:
                inside = (*self.path[self.path.index(LAYERS) + 1 :], name)
                key = jax.random.fold_in(layer.key, zlib.crc32("/".join(inside).encode()))
            return init(key, shape, dtype)

        boxed = nn.with_logical_partitioning(initialise, axes)
        return self.param(name, boxed, shape, jnp.float32).astype(self.dtype)


def fan_in(n_inputs: int) -> Callable:
    """Normal with variance 1 / n_inputs (LeCun et al. 1998), which keeps activations at unit variance."""
    return nn.initializers.normal(stddev=n_inputs**-0.5)


def constrain(x, *axes: str | None):
    """Tells the partitioner where activation `x` lies, by logical axis names; nothing without a mesh."""
    return nn.with_logical_constraint(x, axes)


def drop(x, layer: Layer, *path: str):
    """Inverted dropout with a rate that may be traced (flax's own refuses that); nothing outside training."""
    if layer.dropout is None:
        return x
    key = jax.random.fold_in(layer.key, zlib.crc32("/".join((*path, "dropout")).encode()))
    keep = jax.random.bernoulli(key, 1.0 - layer.dropout, x.shape)
    return jnp.where(keep, x / (1.0 - layer.dropout).astype(x.dtype), 0)
