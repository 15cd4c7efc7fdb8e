"""A small decoder-only model, 0.5 M parameters: 2 layers of 128, 16 rows of 128 bytes.

    python -m benchmarks.run train --config=benchmarks/configs/decoder_2x128.py --peer="nanogpt(path='nanoGPT')"
    python -m benchmarks.run decode --config=benchmarks/configs/decoder_2x128.py --peer=gpt2

A plain Transformer at a constant learning rate, since that is what peers have, too: tables in RESULTS.md.
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None, or 'smoke' for seconds."""
    config.check_mode(mode, "smoke")
    c = config.base()
    c.model.layers, c.model.width, c.model.heads = 2, 128, 4
    c.model.position = "learned(length=512)"  # room for a prompt and 256 tokens behind it
    c.data.tokenizer, c.data.length, c.data.batch_size = "byte", 128, 16
    c.optim.learning_rate, c.optim.schedule, c.optim.warmup_steps = 1e-3, "constant", 0
    if mode == "smoke":
        c.model.layers, c.model.width, c.model.heads = 1, 32, 2
        c.data.length, c.data.batch_size = 16, 2
    return c
