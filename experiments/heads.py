"""How many attention heads does a small language model need, and how many keys and values?

At fixed width D the size of a head is D / H: more heads are narrower heads, with the same parameters. The
rank of each head's attention logits falls with them (Bhojanapalli et al. 2020), so two points keep the head
size of the baseline while the count changes: they tell count from rank, at the price of other parameter
counts, which the report shows. Grouped (Ainslie et al. 2023) and single (Shazeer 2019) keys and values
change neither head count nor head size, only how many heads share a key.

    python -m transformer_jax study run experiments/heads.py --workdir=runs/heads

Held equal: data and their order, updates, recipe, width, depth. 40 runs; about an hour on two CPU cores.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, chain, claim, param, point


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.train.steps = 600
    base.train.eval_every = 100
    base.train.eval_batches = 32
    if mode == "smoke":
        config.smoke(base)
    head_size = base.model.width // base.model.heads
    return Study(
        name="heads",
        question="How many attention heads, and how many key-value heads, does a small language model need?",
        base=base,
        grid=chain(
            param("model.heads", [base.model.heads, 1, 2, 8]),
            point("heads=1, head size kept", {"model.heads": 1, "model.head_size": head_size}),
            point("heads=8, head size kept", {"model.heads": 8, "model.head_size": head_size}),
            param("model.mixer", ["mha(kv_heads=1)", "mha(kv_heads=2)"], name=""),
        ),
        baseline=f"heads={base.model.heads}",
        seeds=2 if mode == "smoke" else 5,
        goal=Goal("valid/bits_per_byte", "min", margin=0.01),
        claims=(
            claim(f"heads={base.model.heads} > heads=1", source="Vaswani et al. 2017, table 3 (A)"),
            claim(f"mha(kv_heads=2) = heads={base.model.heads}", source="Ainslie et al. 2023 (close to multi-head)"),
            claim(f"heads={base.model.heads} > mha(kv_heads=1)", source="Shazeer 2019 (a slight loss of quality)"),
        ),
    )
