"""An encoder-decoder of 770 million parameters: T5-large's shape (Raffel et al. 2020, sec. 3.7; relative biases, ReLU).

python -m transformer_jax plan --config=configs/encdec_770m.py --machine=v5e:16x16
python -m transformer_jax plan --config=configs/encdec_770m.py --machine=v5p:4x4x4
python -m transformer_jax train --config=configs/encdec_770m.py --workdir=runs/encdec_770m

737,668,096 parameters with a vocabulary of 32,000 and 100 sentinels; an update of 512 rows of 512 + 128 tokens is 758
TFLOP. Planned, not measured: on v5e:16x16 (data 16, fsdp 16) 1.1 GiB of a chip's 16 and at least 48 ms an update
(libtpu's compiler says 1.8 GiB), on v5p:4x4x4 (data 4, fsdp 16) 2.0 GiB of 95 and 32 ms (2.7 GiB).
It restores corrupted spans of English (`span`), 512 tokens and 128 of what was hidden, as T5 was trained. The corpus
is one to fetch: it takes the extra `hub` and a network. A text of your own does as well,
--config.data.corpus="text(path='…')"; its vocabulary is fitted to it.
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None or 'smoke'."""
    config.check_mode(mode, "smoke")
    c = config.base()
    c.model.family = "encoder_decoder"
    c.model.layers, c.model.width, c.model.heads, c.model.ffn_size = 24, 1024, 16, 4096
    c.model.position, c.model.residual = "t5", "pre"
    c.model.norm, c.model.ffn = "rmsnorm", "relu"
    c.model.dtype, c.model.remat = "bfloat16", "full"
    c.model.vocab_multiple = 128
    c.data.corpus = "huggingface(path='HuggingFaceFW/fineweb-edu', config='sample-10BT', valid='', test='')"
    c.data.view, c.data.tokenizer = "span", "bpe(vocab=32000)"
    c.data.source_length, c.data.length, c.data.batch_size = 512, 128, 512
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 1e-3, 10_000, "rsqrt"
    c.optim.b1, c.optim.b2, c.optim.weight_decay = 0.9, 0.99, 0.01
    c.train.steps, c.train.eval_every, c.train.steps_per_dispatch = 500_000, 2000, 10
    c.run.checkpoint_every, c.run.log_every = 2000, 50
    c.mesh.data, c.mesh.fsdp = -1, 16
    return config.smoke(c) if mode == "smoke" else c
