"""A small byte-level language model with 32 heads, to look into: `inspect heads`, `inspect prune`.

    python -m transformer_jax train --config=configs/lm_heads.py --workdir=runs/lm_heads
    python -m transformer_jax inspect heads --workdir=runs/lm_heads
    python -m transformer_jax inspect prune --workdir=runs/lm_heads --keep=16 --out=runs/lm_heads_16

4 layers of width 128 with 8 heads each, 600 updates: about 3 minutes on two CPU cores.
"""

from transformer_jax import config


def get_config(mode: str | None = None):
    config.check_mode(mode, "smoke")
    c = config.base()
    c.model.heads = 8
    c.train.steps = 600
    c.train.eval_every = 200
    c.train.eval_batches = 16
    c.run.checkpoint_every = 600
    return config.smoke(c) if mode == "smoke" else c
