"""Modern English -> King James English, verse by verse, seen by either family.

python -m transformer_jax train --config=configs/web_kjv.py:encoder_decoder --workdir=runs/web_kjv_ed
python -m transformer_jax train --config=configs/web_kjv.py:decoder_only --workdir=runs/web_kjv_do
python -m transformer_jax evaluate --workdir=runs/web_kjv_ed

The encoder-decoder has 3 + 3 layers, the decoder-only model 3: one stack reads the verse and writes the answer.
Both see the same verses; each row holds up to 128 + 128 tokens of pairs, or 256 of prompts and answers.
"""

from transformer_jax import config

FAMILIES = {
    "encoder_decoder": dict(view="pairs", length=128),
    "decoder_only": dict(view="prompt_answer(loss='answer')", length=256),
}


def get_config(mode=None):
    """`mode`: encoder_decoder (the default) or decoder_only."""
    config.check_mode(mode, *FAMILIES)
    c = config.base()
    c.model.family = mode or "encoder_decoder"
    c.data.update(FAMILIES[c.model.family])
    c.data.batch_size = 16
    c.data.corpus = "web_kjv(split='verse')"
    c.data.tokenizer = "bpe(vocab=2048)"
    c.model.layers, c.model.width, c.model.heads = 3, 256, 4
    c.model.stack = "unroll"
    c.model.dropout = 0.1
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 2e-3, 100, "cosine(floor=0.05)"
    c.train.steps, c.train.eval_every, c.train.eval_batches = 1000, 100, 0
    c.run.checkpoint_every = 100
    return c
