"""The interface of a kernel, and which one 'auto' stands for."""

from dataclasses import dataclass

from transformer_jax.registry import Registry

kernels = Registry("attention kernel", "transformer_jax.model.kernel")

# What 'auto' tries on each platform: the first that can compute the config.
_AUTO = {"cpu": ("blocks", "xla"), "gpu": ("cudnn", "xla"), "tpu": ("xla",)}


@dataclass(frozen=True)
class Kernel:
    """softmax(scale q k^T + bias) v (Vaswani et al. 2017, eq. 1). No kernel changes more of it than rounding.

    A query whose mask is all False gets a finite, meaningless mean: it is padding, and its weight is 0.
    """

    def problems(self, config, platform: str) -> list[str]:
        """Why it cannot compute a config on 'cpu', 'gpu' or 'tpu', a sentence each."""
        return []

    def __call__(self, q_BLHK, k_BMGK, v_BMGK, *, mask_B1LM, bias_BHLM=None, scale=None, ordered: bool = False):
        """heads_BLHK, with H / G heads of queries per head of keys.

        Args:
          mask_B1LM: bool, True where the query may look.
          bias_BHLM: added to the scaled logits; its first axis may be 1.
          scale: of the logits; None for 1 / sqrt(K).
          ordered: whether no query may look at a slot behind its own, whatever the mask holds; L = M then.
        """
        raise NotImplementedError


def resolve(config, platform: str) -> str:
    """The spec of the kernel that `model.attention` stands for."""
    spec = config.model.attention
    if spec != "auto":
        return spec
    return next(name for name in _AUTO[platform] if not kernels.build(name).problems(config, platform))
