"""A small decoder-only language model on the World English Bible: 3.7 M parameters, whole books held out.

python -m transformer_jax train --config=configs/lm_web.py --workdir=runs/lm_web
python -m transformer_jax generate --workdir=runs/lm_web --prompt='In the beginning' --temperature=0.7 --top_p=0.9
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None, or 'smoke' for seconds."""
    config.check_mode(mode, "smoke")
    c = config.base()
    c.data.corpus = "web"
    c.data.tokenizer = "bpe(vocab=2048)"
    c.data.length, c.data.batch_size = 256, 16
    c.model.layers, c.model.width, c.model.heads = 4, 256, 4
    c.model.stack = "unroll"  # a third faster than scan at this depth on a CPU
    c.model.dropout = 0.1
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 2e-3, 100, "cosine(floor=0.05)"
    c.train.steps, c.train.eval_every, c.train.eval_batches = 1000, 100, 0
    c.run.checkpoint_every = 100
    return config.smoke(c) if mode == "smoke" else c
