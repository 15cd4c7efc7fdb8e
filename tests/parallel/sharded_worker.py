"""Run by test_sharded.py in a process of its own with 8 fake devices: prints what each variant's meshes give."""

import json
import sys

import jax
import numpy as np
from models import hyper_of, small_batch, small_config

from transformer_jax import config as config_lib
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.train.evaluation import place
from transformer_jax.train.loop import compiled_program

STEPS = 5


def losses(config, devices) -> dict:
    """Losses of a few updates, and a checksum of the initial parameters."""
    program = compiled_program(config, 64, make_mesh(config.mesh, devices))
    hyper = hyper_of(program, config)
    state = program.init(hyper)
    start = [float(np.abs(np.asarray(leaf)).sum()) for leaf in jax.tree.leaves(state.params)]
    batches = [small_batch(config.model.family, rows=8, seed=i) for i in range(STEPS)]
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *batches)
    state, metrics = program.train(state, place(program, stacked, leading=1), hyper)
    spread = {str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.params)}
    return {
        "start": start,
        "loss": (metrics.loss.nats / metrics.loss.tokens).tolist(),
        "grad_norm": metrics.grad_norm.tolist(),
        "specs": sorted(spread),
    }


def main(cases: list[dict]) -> None:
    devices = jax.devices()
    assert len(devices) == 8
    for case in cases:
        result = {}
        eight = case.get("mesh", {"data": 2, "fsdp": 2, "tensor": 2})
        for name, mesh in (("one", {"data": 1}), ("eight", eight)):
            config = small_config(**case["model"])
            config.data.batch_size = 8
            for key, value in case.get("other", {}).items():
                config_lib.override(config, key, value)
            for axis, size in mesh.items():
                config.mesh[axis] = size
            result[name] = losses(config, devices[:1] if name == "one" else devices)
        jax.clear_caches()
        print(json.dumps({"id": case["id"], **result}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.stdin.read()))
