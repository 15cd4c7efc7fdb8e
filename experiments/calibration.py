"""Is a study wrong as often as it says? Hundreds of comparisons whose answer is known.

`again` differs from the baseline in nothing but the random numbers of its initial values: whatever is called better or
worse is a false alarm. `worse` has a learning rate that is known to be too low, and other initial values, so that pairs
share their batches alone, as they do when an architecture is changed: how often it is found can be held against the
power that the first seeds predict. The seeds are read in groups as large as those of a small study:

    python -m transformer_jax study run experiments/calibration.py --workdir=runs/calibration --members=108
    python -m transformer_jax study calibrate runs/calibration --pairs=4

A model of one layer of width 32 on short rows of English, 60 updates; 860 seeds of three variants, which train in
populations. docs/calibration.md keeps what it found. With `:smoke` there are 12 seeds.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, chain, point


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.model.layers, base.model.stack = 1, "unroll"
    base.model.width, base.model.heads = 32, 2
    base.data.length, base.data.batch_size = 32, 8
    base.train.steps, base.train.eval_every, base.train.steps_per_dispatch = 60, 60, 20
    base.train.eval_batches = 16
    base.run.log_every, base.run.checkpoint_every, base.run.keep_checkpoints = 20, 60, 1
    base.run.tensorboard = False
    if mode == "smoke":
        config.smoke(base)
    return Study(
        name="calibration",
        question="How often does a study call a difference where there is none, and miss one where there is?",
        base=base,
        grid=chain(
            point("baseline"),
            point("again", {"init_salt": 1}),
            point("worse", {"optim.learning_rate": 1.7e-3, "init_salt": 2}),
        ),
        baseline="baseline",
        seeds=12 if mode == "smoke" else 860,
        goal=Goal("valid/loss", "min"),
    )
