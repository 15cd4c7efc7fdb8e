"""Do heads and positions act on each other? A full product of both, read as a factorial design.

Four numbers of heads x four position schemes x three seeds. Beside the usual comparisons with the baseline, the report
has an analysis of variance with seeds as blocks: the main effect of each factor, their interaction, and a heat map.

    python -m transformer_jax study run experiments/factorial.py
    python -m transformer_jax study report runs/factorial

Two layers of width 64 on rows of 64 bytes, 200 updates. The 48 runs train as 16 programs of three runs each and take
about six minutes on two CPU cores. Held equal: data and their order, updates, recipe, parameters (heads divide one
width; `learned` has 4,096 more).

The claims are those of papers about larger models and longer training. That one of them is refuted here says that it
does not hold at this size and budget, and no more.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, claim, param, product


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.model.layers, base.model.width, base.model.stack = 2, 64, "unroll"
    base.data.length, base.data.batch_size = 64, 16
    base.train.steps, base.train.eval_every = 200, 50
    base.train.eval_batches = 16
    base.run.checkpoint_every, base.run.keep_checkpoints = 200, 1
    if mode == "smoke":
        config.smoke(base)
        base.model.width = 64
    heads, positions = (
        ([1, 4], ["rope", "none"]) if mode == "smoke" else ([1, 2, 4, 8], ["rope", "alibi", "learned", "none"])
    )
    return Study(
        name="factorial",
        question="Do the number of heads and the position scheme act on each other in a small language model?",
        base=base,
        grid=product(param("model.heads", heads), param("model.position", positions)),
        baseline="heads=4, position=rope",
        seeds=2 if mode == "smoke" else 3,
        goal=Goal("valid/bits_per_byte", "min", margin=0.02),
        claims=(
            claim("heads=4, position=rope > heads=1, position=rope", source="Vaswani et al. 2017, table 3 (A)"),
            claim("heads=4, position=rope > heads=4, position=none", source="Vaswani et al. 2017, sec. 3.5"),
            claim(
                "heads=4, position=none = heads=4, position=rope",
                source="Haviv et al. 2022 (without positions: competitive)",
            ),
        ),
    )
