"""The table from logical axis names to mesh axes, and the shardings that follow from it.

Parameters and activations carry logical names only; a name that is not in the table is an error here,
because the library would silently replicate it.
"""

import math
from collections.abc import Mapping

import jax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer_jax.errors import UserError

RULES: Mapping[str, str | tuple[str, ...] | None] = {
    # parameters
    "vocab": "tensor",
    "width": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_size": None,
    "ffn": "tensor",
    "norm": None,
    "positions": None,
    "buckets": None,
    "expert": "expert",
    "layers": None,
    # activations
    "act_batch": ("data", "fsdp", "expert"),
    # The batch once tokens have gone to their experts: whole rows. (With an expert's places on context, XLA of jax
    # 0.10.2 computed something else on a mesh of fsdp, context and expert.)
    "act_group": ("data", "fsdp", "context"),
    "act_expert": "expert",
    "act_length": "context",
    "act_keys": None,  # the length as attention reads it: keys and values of a row are whole on each device
    "act_width": None,
    "act_heads": "tensor",
    "act_ffn": "tensor",
    "act_vocab": "tensor",
}

# Where a parameter's size is written, for messages.
FIELDS: Mapping[str, str] = {
    "vocab": "model.vocab_multiple",
    "width": "model.width",
    "heads": "model.heads",
    "kv_heads": "model.heads or kv_heads of the mixer",
    "ffn": "model.ffn_size",
    "expert": "experts of model.ffn",
}

BATCH = PartitionSpec(RULES["act_batch"], RULES["act_length"])


def table() -> tuple[tuple[str, str | tuple[str, ...] | None], ...]:
    """The rules as `nn.logical_axis_rules` takes them."""
    return tuple(RULES.items())


def shardings(boxed_tree, mesh: Mesh):
    """A NamedSharding for every array of a tree whose leaves may carry logical axis names.

    Args:
      boxed_tree: as `model.init` (or its `jax.eval_shape`) returns it; leaves without names are replicated.

    Raises:
      UserError: for an unknown logical name, or a dimension that its mesh axes cannot divide.
    """

    def one(path, leaf):
        names = leaf.names if is_boxed(leaf) else ()
        where = jax.tree_util.keystr(path, simple=True, separator="/")
        unknown = [name for name in names if name is not None and name not in RULES]
        if unknown:
            raise UserError(f"{where}: unknown logical axis {unknown[0]!r}; have {', '.join(RULES)}")
        spec = PartitionSpec(*(RULES[name] if name else None for name in names))
        _check_divisible(where, unbox(leaf).shape, names, spec, mesh)
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(one, boxed_tree, is_leaf=is_boxed)


def is_boxed(leaf) -> bool:
    """Whether a leaf carries logical axis names."""
    return isinstance(leaf, nn.LogicallyPartitioned)


def is_matrix(name: str, axes: tuple[str, ...]) -> bool:
    """Whether a parameter is no bias and has two dimensions or more besides that of the layers, one of them named.

    Shapes alone would not do: scanning gives norms a second dimension. Small tables of coefficients, such as those
    that mix residual streams, have no named dimension.
    """
    own = [axis for axis in axes if axis != "layers"]
    return len(own) >= 2 and any(own) and not name.endswith("_bias")


def unbox(boxed_tree):
    """The tree without the names. flax's own `unbox` would constrain each array on the way, traced or not."""
    return jax.tree.map(lambda leaf: leaf.value if is_boxed(leaf) else leaf, boxed_tree, is_leaf=is_boxed)


def _check_divisible(where: str, shape, names, spec: PartitionSpec, mesh: Mesh) -> None:
    for size, name, axes in zip(shape, names, spec, strict=False):
        axes = (axes,) if isinstance(axes, str) else axes or ()
        parts = math.prod(mesh.shape[axis] for axis in axes)
        if size % parts:
            raise UserError(
                f"{where}: its {name} of {size} cannot be split over mesh axis {' x '.join(axes)} of {parts}: "
                f"give mesh.{axes[0]} a divisor of {size}, or change {FIELDS.get(name, name)}"
            )
