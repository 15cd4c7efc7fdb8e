"""What a model costs, counted analytically, and the peaks that it is held against."""

import math

import jax

from transformer_jax.model.arch import Arch

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


def peak_flops(device) -> float | None:
    """Peak of a jax device in FLOP/s; None where it is not known (CPUs)."""
    return next((peak for kind, peak in PEAK_FLOPS.items() if device.device_kind.startswith(kind)), None)


def count(params) -> int:
    """The number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def train_flops_per_row(arch: Arch, params, length: int, source_length: int) -> float:
    """FLOPs of forward and backward for one row of `length` (+ `source_length`) tokens.

    6 per matrix parameter and token, the output matrix included and the embedding look-up not, and
    12 H K per pair of positions and layer for attention, masked pairs included (the convention of PaLM,
    Chowdhery et al. 2022, app. B). Norms, biases and softmax are left out.
    """
    stacks = {name: tree for name, tree in params.items() if name != "embedding"}
    tokens = {"decoder": length, "encoder": source_length}
    matrices = 0.0
    for name, tree in stacks.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            keys = [part.key for part in path]
            # Cross-attention's keys and values are computed on the source's tokens.
            on_source = "cross" in keys and any(k in keys for k in ("key", "value"))
            matrices += 6.0 * math.prod(leaf.shape) * (source_length if on_source else tokens[name])
    matrices += 6.0 * arch.dims.vocab_rows * arch.dims.width * length
    pairs = arch.layers * length**2
    if "encoder" in stacks:
        pairs += arch.layers * length * source_length + arch.encoder_layers * source_length**2
    return matrices + 12.0 * arch.dims.heads * arch.dims.head_size * pairs
