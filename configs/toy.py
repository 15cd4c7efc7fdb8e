"""The two prompts of the decoder-only explainer, learned to exact match in seconds.

'what is statquest <EOS>' -> 'awesome <EOS>' and 'statquest is what <EOS>' -> 'awesome <EOS>': the EOS after the
prompt starts the answer, the EOS after the answer ends it.

python -m transformer_jax train --config=configs/toy.py --workdir=runs/toy
python -m transformer_jax generate --workdir=runs/toy --arrow --prompt='what is statquest' --prompt='statquest is what'
"""

from transformer_jax import config


def get_config(mode=None):
    config.check_mode(mode, "smoke")
    c = config.base()
    c.data.corpus, c.data.view, c.data.tokenizer = "toy", "prompt_answer(loss='answer')", "word"
    c.data.length, c.data.batch_size, c.data.packed = 8, 4, False
    c.model.layers, c.model.width, c.model.heads, c.model.position = 1, 32, 2, "sinusoidal"
    c.optim.learning_rate, c.optim.warmup_steps = 1e-2, 5
    c.train.steps, c.train.eval_every = 60, 20
    return config.smoke(c) if mode == "smoke" else c
