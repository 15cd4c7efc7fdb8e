"""Which residual scheme trains at depth?

Every scheme at one depth, 8 layers by default, 24 or 48 by mode, with one recipe and a learning rate that is high for
deep models (3e-3, 20 updates of warm-up): the question is which scheme still learns, not what each would reach with
a rate of its own. Runs whose loss is not finite count as diverged; runs that stop learning, at the loss of a
unigram, do not, and show in the loss.

    python -m transformer_jax study run experiments/depth.py:48 --workdir=runs/depth_48

Modes: 8 (the default), 24, 48, smoke. Held equal: data and their order, updates, recipe, width 64. A scheme's own
parameters (gates, scales, more norms) come on top; the report shows how many. 36 runs; on one CPU core some 4, 8
and 15 minutes.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, param

RESIDUALS = (
    "pre",
    "post",
    "none",
    "sandwich",
    "res_post",
    "deepnorm",
    "rezero",
    "layerscale",
    "depth_scaled",
    "highway",
    "hyper_connections",
    "residual_dual",
)


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke", "8", "24", "48")
    depth = int(mode) if mode in ("24", "48") else 8
    base = config.base()
    base.model.layers = depth
    base.model.width = 64
    base.data.length, base.data.batch_size = 64, 4
    base.optim.learning_rate = 3e-3
    base.train.steps = 100
    base.train.eval_every = 25
    base.train.eval_batches = 32
    base.run.checkpoint_every = 100
    base.run.keep_checkpoints = 1
    if mode == "smoke":
        config.smoke(base)
    return Study(
        name=f"depth_{depth}",
        question=f"Which residual scheme trains a decoder of {depth} layers?",
        base=base,
        grid=param("model.residual", RESIDUALS, name=""),
        baseline="pre",
        seeds=2 if mode == "smoke" else 3,
        goal=Goal("valid/bits_per_byte", "min"),
    )
