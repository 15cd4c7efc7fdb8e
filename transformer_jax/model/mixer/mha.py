"""Multi-head attention, with grouped and single key-value heads."""

from transformer_jax.model.mixer.attention import Attention
from transformer_jax.model.mixer.base import mixers


@mixers.register("mha")
class MultiHeadAttention(Attention):
    """concat_h(softmax(q_h k_h^T / sqrt(K)) v_h) W_o (Vaswani et al. 2017, sec. 3.2.2); fewer kv_heads: MQA, GQA."""

    cost = "4 H K L M FLOPs; decoding caches 2 G K numbers per position"
