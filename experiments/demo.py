"""Do heads, residual connections and positions matter in a small language model?

One baseline, a decoder-only byte-level model of English text (2 layers of width 128, 4 heads, pre-norm,
rotary positions), and from it one change at a time on each of the three axes. Everything else is equal:
data and their order, updates, recipe, initialisation where parameters have the same name and shape.

    python -m transformer_jax study run experiments/demo.py --workdir=runs/demo
    python -m transformer_jax study report runs/demo

Takes about six minutes on two CPU cores (24 runs of 150 updates). With `:smoke` it takes seconds and finds nothing.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, chain, param, point


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.model.layers, base.model.stack = 2, "unroll"
    base.train.steps = 150
    base.train.eval_every = 50
    base.run.checkpoint_every = 150
    base.run.keep_checkpoints = 1
    if mode == "smoke":
        config.smoke(base)
    return Study(
        name="demo",
        question="Do heads, residual connections and positions matter in a small language model of English?",
        base=base,
        grid=chain(
            point("baseline"),
            param("model.heads", [1]),
            param("model.residual", ["none", "post"]),
            param("model.position", ["none", "alibi"]),
        ),
        baseline="baseline",
        seeds=2 if mode == "smoke" else 4,
        goal=Goal("valid/bits_per_byte", "min"),
    )
