"""Which positional encoding, if any, does a small decoder need within its training length?

A causal decoder can find positions by itself (Haviv et al. 2022), so `none` is a variant, not a mistake.
Length beyond training is another question: every row here has the training length.

    python -m transformer_jax study run experiments/positions.py --workdir=runs/positions

Held equal: data and their order, updates, recipe, width, depth. `learned` and `t5` bring parameters of their
own; the report shows how many. 30 runs; about three quarters of an hour on two CPU cores.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, param


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.data.length = 256
    base.data.batch_size = 8
    base.train.steps = 600
    base.train.eval_every = 100
    base.train.eval_batches = 32
    if mode == "smoke":
        config.smoke(base)
    return Study(
        name="positions",
        question="Which positional encoding, if any, does a small decoder need within its training length?",
        base=base,
        grid=param("model.position", ["rope", "none", "sinusoidal", "learned", "alibi", "t5"], name=""),
        baseline="rope",
        seeds=2 if mode == "smoke" else 5,
        goal=Goal("valid/bits_per_byte", "min"),
    )
