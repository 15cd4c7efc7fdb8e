"""Which feed-forward is best at equal parameters, each with a learning rate of its own?

A gated feed-forward has three matrices where a plain one has two: `model.ffn_size` of each variant is changed until it
has as many parameters as the baseline, to 1 % (Shazeer 2020 took two thirds). A learning rate that suits one may not
suit another: four are tried for every variant, the baseline included, on the valid split with a seed of its own, and
what decides is measured on the test split (books that neither training nor choosing has seen). docs/ffn_study.md has
what came out.

    python -m transformer_jax study run experiments/ffn.py --workdir=runs/ffn
    python -m transformer_jax study report runs/ffn

Two layers of width 64 on rows of 64 bytes, 300 updates. The tuning is 20 runs, the study 25; about nine minutes on two
CPU cores. Held equal: data and their order, updates, parameters, the rest of the recipe.
"""

from transformer_jax import config
from transformer_jax.study import Budget, Goal, Study, Tune, claim, param


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.model.layers, base.model.width, base.model.stack = 2, 64, "unroll"
    base.data.length, base.data.batch_size = 64, 16
    base.train.steps, base.train.eval_every = 300, 100
    base.train.eval_batches, base.train.test_batches = 16, 64
    base.run.checkpoint_every, base.run.keep_checkpoints = 300, 1
    if mode == "smoke":
        config.smoke(base)
        base.model.width, base.model.ffn_size, base.train.test_batches = 64, 256, 2
    return Study(
        name="ffn",
        question="Which feed-forward is best at equal parameters, each with its own learning rate?",
        base=base,
        grid=param(
            "model.ffn", ["gelu", "relu", "swiglu"] if mode == "smoke" else ["gelu", "relu", "relu2", "geglu", "swiglu"]
        ),
        baseline="ffn=gelu",
        seeds=2 if mode == "smoke" else 5,
        goal=Goal("test/bits_per_byte", "min", margin=0.01),
        claims=(
            claim("ffn=swiglu > ffn=gelu", source="Shazeer 2020, table 1"),
            claim("ffn=swiglu > ffn=relu", source="Shazeer 2020, table 1"),
            *(() if mode == "smoke" else (claim("ffn=relu2 > ffn=relu", source="So et al. 2021 (Primer)"),)),
        ),
        budget=Budget("params", resize="model.ffn_size"),
        tune=Tune("optim.learning_rate", (2e-3, 4e-3, 8e-3, 1.6e-2)),
    )
