"""A small decoder-only language model on the World English Bible.

python -m transformer_jax train --config=configs/lm_web.py --workdir=runs/lm_web
"""

from transformer_jax import config


def get_config(mode=None):
    c = config.base()
    c.data.corpus = "web"
    c.data.tokenizer = "bpe(vocab=2048)"
    c.data.length, c.data.batch_size = 256, 16
    c.model.layers, c.model.width, c.model.heads = 4, 256, 4
    c.model.dropout = 0.1
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 2e-3, 100, "cosine(floor=0.05)"
    c.train.steps, c.train.eval_every, c.train.eval_batches = 1500, 250, 0
    c.run.checkpoint_every = 250
    return config.smoke(c) if mode == "smoke" else c
