"""An encoder-decoder of 5.6 M parameters: 3 + 3 layers of 256, 16 rows of 128 + 128 bytes.

    python -m benchmarks.run train --config=benchmarks/configs/encdec_3x256.py --peer="wmt(path='flax/examples/wmt')"

A plain Transformer at a constant learning rate, since that is what its peer has, too: tables in RESULTS.md.
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None, or 'smoke' for seconds."""
    config.check_mode(mode, "smoke")
    c = config.base()
    c.model.family = "encoder_decoder"
    c.model.layers, c.model.width, c.model.heads = 3, 256, 4
    c.model.position, c.model.ffn = "learned", "relu"
    c.data.corpus, c.data.view, c.data.tokenizer = "web_kjv(split='verse')", "pairs", "byte"
    c.data.length, c.data.batch_size = 128, 16
    c.optim.learning_rate, c.optim.schedule, c.optim.warmup_steps = 3e-4, "constant", 0
    if mode == "smoke":
        c.model.layers, c.model.width, c.model.heads = 1, 32, 2
        c.data.length, c.data.batch_size = 16, 2
    return c
