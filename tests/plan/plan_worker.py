"""Run by test_counted.py in a process of its own with 8 fake devices: what lies on a device, and what a plan says."""

import json
import sys

import jax
from models import hyper_of, small_config

from transformer_jax import config as config_lib
from transformer_jax.parallel.mesh import AXES, make_mesh
from transformer_jax.plan import machines
from transformer_jax.plan.compiled import compile_step
from transformer_jax.plan.memory import LASTING
from transformer_jax.plan.planning import Planner
from transformer_jax.train.loop import compiled_program

VOCAB = 64


def measured(case: dict) -> dict:
    """Bytes of the state on the first device, by field: as they are, and as planned."""
    config, sizes = _config(case), dict.fromkeys(AXES, 1) | case["mesh"]
    program = compiled_program(config, VOCAB, make_mesh(config.mesh, jax.devices()))
    state = program.init(hyper_of(program, config))
    first = jax.devices()[0]
    planned = Planner(config, "cpu", VOCAB).needs.layout.local_bytes(sizes)
    real = {name: sum(_on(leaf, first) for leaf in jax.tree.leaves(getattr(state, name))) for name in planned}
    return {"real": real, "planned": planned}


def compiled(case: dict) -> dict:
    """Arguments and temporaries of the compiled step, as the compiler says and as planned."""
    config, sizes = _config(case), dict.fromkeys(AXES, 1) | case["mesh"]
    found = Planner(config, "cpu", VOCAB).on(machines.parse("cpu:8"), sizes)
    told = compile_step(config, sizes, jax.devices(), VOCAB)
    lasting = sum(found.held.parts[name] for name in LASTING)
    sent: dict[str, float] = {}
    for each in told.collectives:
        for axis in each.axes:
            sent[axis] = sent.get(axis, 0.0) + each.bytes_in_all / len(each.axes)
    return {
        "arguments": [lasting, told.memory["arguments"]],
        "temporaries": [found.held.total - lasting, told.memory["temporaries"]],
        "sent": {axis: [sum(kinds.values()), sent.get(axis, 0.0)] for axis, kinds in found.sent.items()},
    }


def _config(case: dict):
    config = small_config(**case["model"])
    config.data.batch_size, config.train.steps_per_dispatch = 16, 1
    config.data.length = config.data.source_length = case.get("length", 16)
    for key, value in case.get("other", {}).items():
        config_lib.override(config, key, value)
    for axis, size in case["mesh"].items():
        config.mesh[axis] = size
    return config


def _on(array, device) -> int:
    return sum(shard.data.nbytes for shard in array.addressable_shards if shard.device == device)


if __name__ == "__main__":
    for case in json.loads(sys.stdin.read()):
        print(json.dumps({"measured": measured, "compiled": compiled}[case["what"]](case)), flush=True)
