"""A decoder-only model of 1.3 billion parameters: GPT-3 XL's size (Brown et al. 2020, table 2.1) in Llama's form.

python -m transformer_jax plan --config=configs/lm_1b.py --machine=v5e:16x16
python -m transformer_jax plan --config=configs/lm_1b.py --machine=v5p:4x4x4
python -m transformer_jax plan --config=configs/lm_1b.py --machine=8xH100 --config.mesh.fsdp=8
python -m transformer_jax train --config=configs/lm_1b.py --workdir=runs/lm_1b

1,345,423,360 parameters with a vocabulary of 32,000; an update of 256 rows of 2,048 tokens is 4.66 PFLOP. Planned, not
measured: on v5e:16x16 (data 16, fsdp 16) 3.3 GiB of a chip's 16 and at least 116 ms an update (libtpu's compiler says
2.6 GiB), on v5p:4x4x4 (data 4, fsdp 16) 7.5 GiB of 95 and 200 ms (5.7 GiB), on 8xH100 (fsdp 8) 26 GiB of 80 and 741 ms.
The corpus is one to fetch: it takes the extra `hub` and a network. A text of your own does as well,
--config.data.corpus="text(path='…')"; its vocabulary is fitted to it. Trained for 2e5 steps it reads 105 billion
tokens, four times what is optimal for its size (Hoffmann et al. 2022, 20 tokens a parameter).
"""

from transformer_jax import config


def get_config(mode=None):
    """`mode`: None or 'smoke'."""
    config.check_mode(mode, "smoke")
    c = config.base()
    c.model.layers, c.model.width, c.model.heads, c.model.ffn_size = 24, 2048, 16, 5504
    c.model.position, c.model.residual = "rope", "pre"
    c.model.norm, c.model.ffn = "rmsnorm", "swiglu"
    c.model.embedding, c.model.tied_embeddings = "plain", False
    c.model.vocab_multiple = 128
    c.model.dtype, c.model.remat = "bfloat16", "full"
    c.data.corpus = "huggingface(path='HuggingFaceFW/fineweb-edu', config='sample-10BT', valid='', test='')"
    c.data.tokenizer = "bpe(vocab=32000)"
    c.data.length, c.data.batch_size = 2048, 256
    c.optim.learning_rate, c.optim.warmup_steps, c.optim.schedule = 2e-4, 2000, "cosine(floor=0.1)"
    c.optim.b1, c.optim.b2, c.optim.weight_decay = 0.9, 0.95, 0.1
    c.train.steps, c.train.eval_every, c.train.steps_per_dispatch = 200_000, 2000, 10
    c.run.checkpoint_every, c.run.log_every = 2000, 50
    c.mesh.data, c.mesh.fsdp = -1, 16
    return config.smoke(c) if mode == "smoke" else c
