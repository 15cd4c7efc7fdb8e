"""What every part of a model stands on: the context of a call, the layer's own data, parameters, sharding."""

import zlib
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from transformer_jax.model.adapter import adapters
from transformer_jax.model.arch import Arch
from transformer_jax.shapes import Array

# The scanned module's name. What follows it in a parameter's path is the same for every layer, scanned or not.
LAYERS = "layers"
SLOT = "slot"  # and a number: one layer of a pattern's period


@struct.dataclass
class Context:
    """What all layers of one call share; made once per stack and kind (self, cross).

    Attributes:
      qpos_BL: int32 true positions of the queries, and of the keys that are appended with them.
      qseg_BL: int32 segments of the queries; 0 is padding.
      kpos_BM, kseg_BM: of the keys, in the order of their slots. Nothing may use a slot's index as a position.
      mask_B1LM: bool, True where a query may look.
      qparts_BL: of the queries, 0 on the part that is read both ways and 1 behind it; None where that is no difference.
      bias_BHLM: float32 content-free term of the logits, or None.
      once: what the position scheme has computed once for all layers, or None.
      cursor: int32 scalar, the first free slot of the cache.
      own: in cross-attention, the context of the decoder's self-attention.
      cache_len: slots of the cache; None means that there is none.
      ordered: whether the keys' slots are the queries', and none is seen from a slot before it.
    """

    qpos_BL: Array
    qseg_BL: Array
    kpos_BM: Array
    kseg_BM: Array
    mask_B1LM: Array
    qparts_BL: Array | None = None
    bias_BHLM: Array | None = None
    once: object = None
    cursor: Array | None = None
    own: "Context | None" = None
    cache_len: int | None = struct.field(pytree_node=False, default=None)
    ordered: bool = struct.field(pytree_node=False, default=False)

    @property
    def length(self) -> int:
        """How long a row of this call can get: the slots of the cache, else the row itself. Static."""
        return self.qpos_BL.shape[1] if self.cache_len is None else self.cache_len


@struct.dataclass
class Layer:
    """What belongs to one layer; scanned, with a leading axis N outside of the scan.

    Attributes:
      index: int32, 0 for the lowest layer of the stack.
      key: seeds the layer's parameters at initialisation and its randomness in training. It is folded from
        the index, so that scanned and unrolled stacks initialise and drop alike.
      dropout: rate; None if there is none.
      heads: for sublayers 'attention' and 'cross', what each head's output is multiplied with, [H].
      training: whether this is a training step, which schemes with randomness of their own ask.
      gains: factors of the initial values by parameter name, set by the residual scheme.
    """

    index: Array
    key: Array | None = None
    dropout: Array | None = None
    heads: dict[str, Array] | None = None
    training: bool = struct.field(pytree_node=False, default=False)
    gains: tuple[tuple[str, float], ...] = struct.field(pytree_node=False, default=())


class Part(nn.Module):
    """A thin holder of parameters. The maths of a variant lives in pure functions beside it.

    Attributes:
      cost: class attribute, for the catalogue: what the variant costs beside its parameters, in a phrase.
      cached: class attribute: whether decoding with a cache computes what the full forward pass does.
      unshardable: class attribute: the mesh axes that the variant cannot be split over, with the reason of each.
    """

    arch: Arch

    cost = ""
    cached = True
    unshardable: ClassVar[Mapping[str, str]] = {}

    @property
    def dtype(self) -> jnp.dtype:
        """Of the computation; parameters are float32."""
        return jnp.dtype(self.arch.execution.dtype)

    def problems(self) -> list[str]:
        """Why this variant cannot be used in `self.arch`, a sentence each. Called before anything compiles."""
        return []

    def report(self, kind: str, name: str, value) -> None:
        """Hands a scalar out of the layers to the train step, which ignores it unless it asks.

        Args:
          kind: 'losses' (added to what is minimised, times the number of targets) or 'metrics' (logged).
        """
        self.sow(kind, name, jnp.asarray(value, jnp.float32), reduce_fn=lambda _, new: new, init_fn=lambda: 0.0)

    def weight(
        self, name: str, shape: tuple[int, ...], axes: tuple[str | None, ...], init: Callable, layer=None, dtype=None
    ):
        """A float32 parameter with logical axis names, handed out in the dtype of the computation.

        Args:
          axes: a logical name, or None, for each dimension; parallel/rules.py says where each lies.
          init: `(key, shape, dtype) -> array`.
          layer: the `Layer` for parameters inside a block. Their keys come from the layer's index and from
            the path below the block, not from flax's counters, which differ between scanned and unrolled
            stacks; so members of a comparison that share a name and shape share the values too.
          dtype: that it is handed out in, where it is not that of the computation.

        In a block, `model.adapter` may change what is handed out, by parameters of its own beside this one.
        """
        value = self._parameter(name, shape, axes, init, layer)
        if LAYERS in self.path:
            adapter = adapters.build(self.arch.parts.adapter)
            beside = adapter.factors("/".join(without_slots((*self.path, name))), shape, axes)
            if beside:
                made = {
                    suffix: self._parameter(name + suffix, each.shape, each.axes, each.init, layer)
                    for suffix, each in beside.items()
                }
                value = adapter.weight(value, made, axes)
        return value.astype(self.dtype if dtype is None else dtype)

    def _parameter(self, name: str, shape, axes, init: Callable, layer):
        def initialise(key, shape, dtype):
            if layer is None or layer.key is None:
                return init(key, shape, dtype)
            key = jax.random.fold_in(layer.key, _crc(*inside_block(self.path), name))
            return init(key, shape, dtype) * dict(layer.gains).get(name, 1.0)

        return self.param(name, nn.with_logical_partitioning(initialise, axes), shape, jnp.float32)


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
    keep = jax.random.bernoulli(layer_key(layer, *path, "dropout"), 1.0 - layer.dropout, x.shape)
    return jnp.where(keep, x / (1.0 - layer.dropout).astype(x.dtype), 0)


def layer_key(layer: Layer, *path: str):
    """A random key of this layer and update for the named purpose. In training only."""
    return jax.random.fold_in(layer.key, _crc(*path))


def inside_block(path: tuple[str, ...]) -> tuple[str, ...]:
    """A module's path below its block: the same for every layer, scanned or not, in a pattern or not."""
    path = without_slots(path)
    return path[path.index(LAYERS) + 1 :]


def without_slots(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path as it would be if no pattern had slots: `('decoder', 'layers', 'attention', 'query')`."""
    return tuple(part for at, part in enumerate(path) if not (at and path[at - 1] == LAYERS and part.startswith(SLOT)))


def _crc(*path: str) -> int:
    return zlib.crc32("/".join(path).encode())
