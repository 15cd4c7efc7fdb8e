"""What a model costs, counted analytically, and the peaks that it is held against."""

import math

import jax

from transformer_jax.model.arch import Arch
from transformer_jax.model.base import SLOT
from transformer_jax.model.ffn import ffns
from transformer_jax.model.mixer import mixers
from transformer_jax.parallel.rules import is_boxed, is_matrix

# Dense bfloat16 peak of one device in FLOP/s, from the vendors' data sheets (without sparsity).
PEAK_FLOPS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
}

_LOOKED_UP = ("vocab", "positions", "buckets")  # first axes of tables that are indexed, not multiplied with


def peak_flops(device) -> float | None:
    """Peak of a jax device in FLOP/s; None where it is not known (CPUs)."""
    return next((peak for kind, peak in PEAK_FLOPS.items() if device.device_kind.startswith(kind)), None)


def count(params) -> int:
    """The number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def flops_per_token(arch: Arch, boxed_params, length: int, source_length: int) -> float:
    """FLOPs of forward and backward per token of a row of `length` (+ `source_length`) tokens.

    6 per parameter of a matrix and token that it is multiplied with (of experts only those that a token uses),
    the output matrix included, and three times what mixers count for their forward pass: for attention 4 H K
    per layer and pair of positions, masked pairs included (the convention of PaLM, Chowdhery et al. 2022,
    app. B). Tables that are looked up, biases, norms, softmax and position schemes' terms are left out.

    Args:
      boxed_params: with logical axis names, which tell matrices from tables.
      source_length: of the encoder's row; not read if there is no encoder.
    """
    source_length = source_length if "encoder" in boxed_params else 0
    tokens = {"decoder": length, "encoder": source_length}
    total = 6.0 * arch.dims.vocab_rows * arch.dims.width * length
    for path, leaf in jax.tree_util.tree_leaves_with_path(boxed_params, is_leaf=is_boxed):
        stack, *keys = (part.key for part in path)
        if stack not in tokens or not is_matrix(keys[-1], leaf.names) or _first(leaf.names) in _LOOKED_UP:
            continue
        # Cross-attention computes its keys and values on the source's tokens.
        on_source = "cross" in keys and keys[-1] in ("key", "value") and stack == "decoder"
        size = math.prod(leaf.value.shape) * (
            _share_of_experts(arch.of(stack), keys) if "expert" in leaf.names else 1.0
        )
        total += 6.0 * size * (source_length if on_source else tokens[stack])
    total += 3.0 * sum(_mixing(arch, n, "decoder", length, source_length) for n in range(arch.layers))
    if source_length:
        total += 3.0 * sum(_mixing(arch, n, "encoder", source_length, 0) for n in range(arch.encoder_layers))
    return total / (length + source_length)


def _first(names: tuple) -> str | None:
    """The first axis of a parameter, that of the layers passed over."""
    return next((name for name in names if name != "layers"), None)


def _share_of_experts(arch: Arch, keys: list[str]) -> float:
    """Of the layer that a parameter belongs to."""
    slot = next((int(key.removeprefix(SLOT)) for key in keys if key.startswith(SLOT)), 0)
    return ffns.build(arch.at(slot).parts.ffn, arch=arch.at(slot)).active_share


def _mixing(arch: Arch, layer: int, stack: str, length: int, memory_length: int) -> float:
    """Of one row in one layer, forward."""
    arch = arch.of(stack).at(layer)
    own = mixers.build(arch.parts.mixer, arch=arch, position="none", causal=stack == "decoder", crossing=False)
    total = own.flops(length, length)
    if memory_length:
        cross = mixers.build(arch.parts.cross_mixer, arch=arch, position="none", causal=False, crossing=True)
        total += cross.flops(length, memory_length)
    return total


def utilisation(flops_per_second: float) -> float | None:
    """The share of the peak of all devices; None where the peak is not known."""
    peak = peak_flops(jax.devices()[0])
    return None if peak is None else flops_per_second / (peak * jax.device_count())
