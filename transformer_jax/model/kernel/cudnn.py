"""cuDNN's fused attention."""

from transformer_jax.model.kernel.base import kernels
from transformer_jax.model.kernel.xla import XLA


@kernels.register("cudnn")
class CuDNN(XLA):
    """cuDNN's flash attention (Dao et al. 2022), through `jax.nn`: no logits in memory. NVIDIA GPUs, bfloat16."""

    implementation = "cudnn"

    def problems(self, config, platform):
        m, d = config.model, config.data
        head_size = m.head_size if m.head_size is not None else m.width // m.heads
        found = []
        if platform != "gpu":
            found.append(f"the platform is {platform}, not gpu")
        if m.dtype != "bfloat16":
            found.append(f"model.dtype is {m.dtype}, not bfloat16")
        if head_size % 8 or head_size > 128:
            found.append(f"the head size is {head_size}, no multiple of 8 up to 128")
        if d.length % 2 or d.source_length % 2:
            found.append(f"rows of {d.length} and {d.source_length} tokens are not both even")
        if config.mesh.context != 1:
            found.append(f"mesh.context is {config.mesh.context}, not 1")
        return found
