"""Small configs for tests of populations."""

from transformer_jax import config as config_lib

TASK = "copy(train=(1, 5), test=(6, 8), examples=300, held_out=30)"


def tiny(**changes):
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view, config.data.length = TASK, "prompt_answer", 32
    config.run.tensorboard = False
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def members(count: int, **changes):
    return [tiny(seed=seed, **changes) for seed in range(count)]
