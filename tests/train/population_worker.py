"""Run by test_population.py in a process of its own with 8 fake devices: 16 runs as one program on 8 replicas."""

import json
import re
import sys
from pathlib import Path

import jax
from population_cases import members

from transformer_jax import data
from transformer_jax.train import loop
from transformer_jax.train.evaluation import place
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.population import step_bytes

COLLECTIVE = re.compile(r"= \S+ (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)")


def main(directory: Path) -> None:
    assert jax.device_count() == 8
    configs = members(16)
    workdirs = [directory / str(i) for i in range(16)]
    results = loop.train_together(configs, workdirs)
    mesh, slots = loop.mesh_for(configs, jax.devices())
    assert step_bytes(configs) > 0
    program = loop.compiled_program(configs[0], 259, mesh, slots)
    (compiled,) = program._compiled.values()
    hyper = program.place([Hyper.from_config(config, program.arch) for config in configs])
    batch = place(program, next(data.load(configs[0].data, 0).eval_batches("valid")))
    with program._context():
        others = [
            program._init.lower(hyper).compile(),
            program._evaluate.lower(program.all_structs.params, hyper.heads, batch).compile(),
        ]
    # A mesh on which each run takes two devices: communication inside of a run, in pairs, and nowhere else.
    for config in configs:
        config.mesh.fsdp = 2
    mesh_fsdp, _ = loop.mesh_for(configs[:4], jax.devices())
    found = loop.train_together(configs[:4], [directory / f"fsdp{i}" for i in range(4)])
    sharded = loop.compiled_program(configs[0], 259, mesh_fsdp, 4)
    (pairs,) = sharded._compiled.values()
    groups = set(re.findall(r"replica_groups=(\{\{.*?\}\}|\[[^ ]*?\]\S*)", pairs.as_text()))
    print(
        json.dumps(
            {
                "losses": [result["metrics"]["valid/loss"] for result in results],
                "mesh": dict(mesh.shape),
                "collectives": [COLLECTIVE.findall(each.as_text()) for each in (compiled, *others)],
                "fsdp_losses": [result["metrics"]["valid/loss"] for result in found],
                "fsdp_mesh": dict(mesh_fsdp.shape),
                "fsdp_groups": sorted(groups),
                "placed": str(hyper.b1.sharding.spec),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
