"""GPT-2 small (Radford et al. 2019), trained as nanoGPT trains it: 124,439,808 parameters at its vocabulary of 50,257.

python -m benchmarks.run train --config=configs/gpt2_124m.py --synthetic --vocab=50257
python -m benchmarks.run train --config=configs/gpt2_124m.py:cpu --synthetic --vocab=50257 --repeats=1 --steps=1
python -m transformer_jax train --config=configs/gpt2_124m.py --workdir=runs/gpt2_124m

The size to measure speed at, since everyone has measured it. On the default corpus it trains, but BPE runs out of
merges at 20,825 tokens (101.8 M parameters) and 26 batches are an epoch: for a model worth having, give more text,
--config.data.corpus="text(path='…')". nanoGPT's batch of half a million tokens is --config.data.batch_size=480
--config.optim.accumulate=15; its table of 50,304 rows, which matmuls like better, --config.model.vocab_multiple=128.
Two differences remain: embeddings start with variance 1 / D and are read times sqrt(D), and no projection starts
smaller for the depth.
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None, 'cpu' for steps of seconds (2 rows of 256, float32), or 'smoke'."""
    config.check_mode(mode, "cpu", "smoke")
    c = config.base()
    c.model.layers, c.model.width, c.model.heads = 12, 768, 12
    c.model.position, c.model.residual = "learned(length=1024)", "pre"
    c.model.norm, c.model.ffn, c.model.bias = "layernorm", "gelu", True
    c.model.dtype = "bfloat16"
    c.model.remat = "none"
    c.model.stack = "unroll"  # what it took to come near torch on a GPU (jax issue 24411)
    c.data.corpus, c.data.tokenizer = "web", "bpe(vocab=50257)"
    c.data.length, c.data.batch_size = 1024, 32
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 6e-4, 2000, "cosine(floor=0.1)"
    c.optim.b1, c.optim.b2, c.optim.weight_decay = 0.9, 0.95, 0.1
    c.train.steps, c.train.eval_every, c.train.steps_per_dispatch = 600_000, 2000, 10
    c.run.checkpoint_every = 2000
    if mode == "cpu":
        c.model.dtype = "float32"
        c.model.stack = "scan"  # compile time does not grow with depth
        c.data.length, c.data.batch_size = 256, 2
        c.train.steps_per_dispatch = 1
    return config.smoke(c) if mode == "smoke" else c
