"""Encoder-decoder or decoder-only for a sequence-to-sequence task (modern to King James English)?

The baseline has N encoder and N decoder layers. Against it stand decoders that read the source as a prompt:
with N layers (as deep as the baseline's decoder, fewer parameters) and with 2N layers (as many blocks in
all; the baseline still has the cross-attention of N layers more). The report shows the parameters of each.

What is equal: pairs of sentences and their split, tokenizer, updates, rows per update, recipe. The loss counts
the answer's tokens and its end in all variants, in training and in validation, over the whole validation
split, so that the metric, loss per answer token, means the same in each. A row of the decoder-only models is
as long as source and target rows together, so that a row holds about as many pairs.
What is not: which pairs share a row, as packing differs between one row and two; FLOPs per update.

A decoder trained on `prompt_answer(loss='all')` is left out: its validation loss counts prompt tokens too
and is no measure of the answer.

    python -m transformer_jax study run experiments/families.py --workdir=runs/families

9 runs; about an hour on two CPU cores.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, chain, point


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke")
    base = config.base()
    base.model.family = "encoder_decoder"
    base.model.layers = 2
    base.data.corpus = "web_kjv"
    base.data.view = "pairs"
    base.data.length = 512  # a verse has 494 characters at most
    base.data.batch_size = 8
    base.train.steps = 600
    base.train.eval_every = 200
    base.train.eval_batches = 0
    base.optim.warmup_steps = 60
    if mode == "smoke":
        config.smoke(base)
        base.data.length = 256
        base.train.eval_batches = 2
    n, length = base.model.layers, base.data.length
    base.data.source_length = length
    decoder = {
        "model.family": "decoder_only",
        "data.view": "prompt_answer(loss='answer')",
        "data.length": 2 * length,
    }
    return Study(
        name="families",
        question="Encoder-decoder or decoder-only: which answers better after the same pairs and updates?",
        base=base,
        grid=chain(
            point(f"encoder-decoder, {n} + {n} layers"),
            point(f"decoder-only, {n} layers", decoder),
            point(f"decoder-only, {2 * n} layers", decoder | {"model.layers": 2 * n}),
        ),
        baseline=f"encoder-decoder, {n} + {n} layers",
        seeds=2 if mode == "smoke" else 3,
        goal=Goal("valid/loss", "min"),
    )
