"""An encoder-decoder of GPT-2 small's size: 124,052,480 parameters at a vocabulary of 50,257, 0.31 % fewer than its
124,439,808. Modern English -> King James English, verse by verse.

python -m benchmarks.run train --config=configs/encoder_decoder_124m.py --synthetic --vocab=50257
python -m benchmarks.run train --config=configs/encoder_decoder_124m.py:cpu --synthetic --vocab=50257 --repeats=1
python -m transformer_jax train --config=configs/encoder_decoder_124m.py --workdir=runs/encoder_decoder_124m

5 + 5 layers: a decoder layer's cross-attention is a third more, so 12 layers of one stack are some 10 of two. The
feed-forward of 3,200 for 3,072 makes up what is left; width, heads and recipe are gpt2_124m's. A row of 512 + 512
holds as many tokens as a row of 1,024 there. On the default corpus BPE runs out of merges at 26,725 tokens
(106.0 M parameters).
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None, 'cpu' for steps of seconds (2 rows of 128 + 128, float32), or 'smoke'."""
    config.check_mode(mode, "cpu", "smoke")
    c = config.base()
    c.model.family = "encoder_decoder"
    c.model.layers, c.model.width, c.model.heads, c.model.ffn_size = 5, 768, 12, 3200
    c.model.position, c.model.residual = "learned(length=512)", "pre"
    c.model.norm, c.model.ffn, c.model.bias = "layernorm", "gelu", True
    c.model.dtype = "bfloat16"
    c.model.remat = "none"
    c.model.stack = "unroll"  # for gpt2_124m's reason
    c.data.corpus, c.data.view, c.data.tokenizer = "web_kjv(split='verse')", "pairs", "bpe(vocab=50257)"
    c.data.length, c.data.batch_size = 512, 32
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 6e-4, 2000, "cosine(floor=0.1)"
    c.optim.b1, c.optim.b2, c.optim.weight_decay = 0.9, 0.95, 0.1
    c.train.steps, c.train.eval_every, c.train.steps_per_dispatch = 600_000, 2000, 10
    c.run.checkpoint_every = 2000
    if mode == "cpu":
        c.model.dtype = "float32"
        c.model.stack = "scan"  # compile time does not grow with depth
        c.data.length, c.data.batch_size = 128, 2
        c.train.steps_per_dispatch = 1
    return config.smoke(c) if mode == "smoke" else c
