"""What do the skip connections do, where, and does the place of the norm matter?

`none` is pre-norm without its skips, in both sublayers, around attention only, or around the feed-forward
only (attention without skips loses rank with depth: Dong et al. 2021). `post` is the norm after the sum
(Vaswani et al. 2017), `pre` before the branch (Xiong et al. 2020), `rezero` a skip with a gate that starts
at 0 and without a norm (Bachlechner et al. 2020).

One recipe, with one learning rate, serves all variants. It is the baseline's: a variant that is worse here
may catch up with a rate or a warm-up of its own, and that is another question.

    python -m transformer_jax study run experiments/residuals.py --workdir=runs/residuals

Held equal: data and their order, updates, recipe, width, depth (6 layers). 30 runs; about an hour on two CPU
cores.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, param


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.model.layers = 6
    base.train.steps = 600
    base.train.eval_every = 100
    base.train.eval_batches = 32
    if mode == "smoke":
        config.smoke(base)
    variants = ["pre", "none", "none(at='attention')", "none(at='ffn')", "post", "rezero"]
    return Study(
        name="residuals",
        question="What do skip connections do in attention and feed-forward, and where should the norm stand?",
        base=base,
        grid=param("model.residual", variants, name=""),
        baseline="pre",
        seeds=2 if mode == "smoke" else 5,
        goal=Goal("valid/bits_per_byte", "min"),
    )
