"""A small language model of the kind that ablations are made with: 0.43 M parameters, or 0.06 M with `:tiny`.

    python -m transformer_jax train --config=configs/small_lm.py
    python -m benchmarks.run population --config=configs/small_lm.py --runs=8

Half a minute on two CPU cores; it is there for benchmarks and for trying things out. `:gpu` is a model of 4.9 M
parameters, which leaves an accelerator mostly idle when it trains alone.
"""

from transformer_jax import config


def get_config(mode: str | None = None) -> config.ConfigDict:
    config.check_mode(mode, "tiny", "gpu")
    c = config.base()
    c.model.layers, c.model.stack = 2, "unroll"
    c.train.steps, c.train.eval_every = 150, 50
    c.run.checkpoint_every, c.run.keep_checkpoints = 150, 1
    if mode == "tiny":
        c.model.width, c.data.length, c.data.batch_size = 48, 64, 8
    if mode == "gpu":
        c.model.layers, c.model.width, c.model.heads = 6, 256, 8
        c.model.dtype = "bfloat16"
        c.data.length, c.train.steps, c.train.eval_every = 256, 500, 250
        c.train.steps_per_dispatch, c.run.log_every = 25, 50
        c.run.checkpoint_every = 500
    return c
