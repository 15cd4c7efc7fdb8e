"""Run by test_processes.py, as one of several processes or as the only one: trains the runs it is given, in turn."""

import json
import sys
from pathlib import Path

from transformer_jax import config as config_lib
from transformer_jax.parallel import distributed
from transformer_jax.train import loop
from transformer_jax.train.watchdog import heartbeat

TASK = "copy(train=(1, 5), test=(6, 8), examples=300, held_out=30)"


def tiny(changes: dict):
    """A run of 8 updates whose checkpoints are far apart."""
    config = config_lib.smoke(config_lib.base())
    config.data.corpus, config.data.view, config.data.length = TASK, "prompt_answer", 32
    config.model.vocab_multiple, config.run.tensorboard, config.run.watchdog = 4, False, 60.0
    for key, value in changes.items():
        config_lib.override(config, key, value)
    return config


def main(given: dict) -> None:
    distributed.start(given["coordinator"], given["processes"], given["process"], heartbeat=heartbeat(60.0))
    for changes, workdir in given["runs"]:
        loop.train(tiny(changes), Path(workdir), leaves=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
