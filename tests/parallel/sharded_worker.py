"""Run by test_sharded.py in a process of its own with 16 fake devices: a model on one of them, and on meshes."""

import json
import math
import os
import re
import sys
import tempfile
from contextlib import contextmanager

import jax
import numpy as np
import optax
from models import VOCAB, join, small_batch, small_config

from transformer_jax import config as config_lib
from transformer_jax.model.arch import Arch
from transformer_jax.parallel.mesh import AXES, make_mesh
from transformer_jax.parallel.rules import is_boxed
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.program import Program
from transformer_jax.train.step import Recipe
from transformer_jax.validate import problems

STEPS, ROWS, CLASSES = 10, 8, 5
LENGTHS = (14, 10)  # of two segments in a row: the first one lies on two devices of the length, with context 2
# AdamW divides by the root of a gradient's square, which blows up the rounding of gradients near zero. With eps far
# above all of them it is momentum, and parameters can be compared.
MOMENTUM = {"optim.eps": 1.0, "optim.learning_rate": 0.1, "optim.warmup_steps": 0, "optim.clip": 0.0}
SHAPE = re.compile(r"\w+(\[[\d,]+\])")
GATHERED = re.compile(r"= (\w+\[[\d,]*\])\S* all-gather(?:-start)?\(")


def case_config(case: dict, mesh: dict):
    config = small_config(**case["model"])
    config.data.length = config.data.source_length = sum(LENGTHS)
    config.data.batch_size, config.train.steps = ROWS, STEPS
    for key, value in (MOMENTUM | case.get("other", {})).items():
        config_lib.override(config, key, value)
    config.mesh.update(dict.fromkeys(AXES, 1) | mesh)
    return config


def batch_of(family: str, seed: int, head: str):
    """Two segments in each row, and padding at the end of source and target."""
    batch = join([small_batch(family, ROWS, seed + 100 * i, length) for i, length in enumerate(LENGTHS)])
    real_BL = np.arange(sum(LENGTHS)) < sum(LENGTHS) - 3
    batch = batch.replace(segments_BL=batch.segments_BL * real_BL, weights_BL=batch.weights_BL * real_BL)
    if "classes" in head:
        batch = batch.replace(targets_BL=batch.targets_BL % CLASSES)
    if batch.source_BM is None:
        return batch
    real_BM = np.arange(batch.source_BM.shape[1]) < batch.source_BM.shape[1] - 2
    return batch.replace(source_segments_BM=batch.source_segments_BM * real_BM)


def any_state(program: Program):
    """A state to start from, the same on every mesh: initialising would double the time to compile.

    Matrices are small, and what starts as 0 or 1, such as gates, is somewhere in the middle.
    """
    rng = np.random.default_rng(0)

    def draw(box):
        mean, spread = (0.0, 32**-0.5) if len([name for name in box.names if name != "layers"]) > 1 else (0.5, 0.1)
        return rng.normal(mean, spread, box.value.shape).astype(np.float32)

    params = jax.tree.map(draw, program.boxed_params, is_leaf=is_boxed)
    zeros = jax.tree.map(lambda struct: np.zeros(struct.shape, struct.dtype), program.all_structs)
    state = zeros.replace(params=params, ema=None if zeros.ema is None else params)
    return jax.device_put(state, jax.tree.map(lambda struct: struct.sharding, program.all_structs))


def program_of(config, devices: list, members: int | None = None) -> Program:
    arch = Arch.from_config(config, vocab=VOCAB, platform="cpu")
    return Program(arch, Recipe.from_config(config), make_mesh(config.mesh, devices), members)


def train(program: Program, *configs, initialise: bool = True) -> dict:
    """What several updates make of one run, or of several that train as one."""
    config, members = configs[0], program.members
    hyper = program.place([Hyper.from_config(each, program.arch) for each in configs])
    lead = () if members is None else (members,)
    sharding = program.batch_sharding(1, per_member=members is not None)

    def placed(step):
        batch = batch_of(config.model.family, step, config.model.head)
        shape = (*lead, 1)
        return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (*shape, *x.shape)), sharding), batch)

    state = program.init(hyper) if initialise else any_state(program)
    start, losses = jax.device_get(state.params), []
    for step in range(STEPS):
        state, metrics = program.train(state, placed(step), hyper)
        losses.append(jax.device_get(metrics.loss.total / metrics.loss.tokens)[..., 0])
        if step == 0:
            first = jax.device_get(optax.tree.get(state.opt_state, "mu"))  # (1 - b1) times the gradient
    evaluated = np.zeros((0, *lead))
    if initialise:
        rows = jax.device_put(batch_of(config.model.family, STEPS, config.model.head), program.batch_sharding())
        evaluated = np.array(jax.tree.leaves(jax.device_get(program.evaluate(state.params, rows))))
    (compiled,) = program._compiled.values()
    end = jax.device_get(state.params)
    return {
        "start": start,
        "loss": np.array(losses),
        "evaluated": evaluated,
        "gradients": first,
        "moved": jax.tree.map(np.subtract, end, start),
        "specs": sorted({str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.params)}),
        "gathered": sorted(set(GATHERED.findall(compiled.as_text()))),
        "shapes": sorted(set(SHAPE.findall(compiled.as_text()))),
    }


def furthest(ours, theirs) -> tuple[float, str]:
    """The largest difference of two leaves, and where; in units of the leaf's norm, or of a thousandth of the tree's.

    Below that a leaf is nothing but what rounding leaves of sums that cancel, such as the gradient of a bias of keys.
    """
    floor = 1e-3 * float(optax.tree.norm(theirs))

    def relative(path, a, b):
        distance = float(np.linalg.norm(np.asarray(a) - b)) / max(float(np.linalg.norm(b)), floor)
        distance = distance if np.isfinite(distance) else np.inf  # no number would compare as the smallest
        return distance, jax.tree_util.keystr(path, simple=True, separator="/")

    return max(jax.tree.leaves(jax.tree_util.tree_map_with_path(relative, ours, theirs), is_leaf=_is_pair))


def _is_pair(x) -> bool:
    return isinstance(x, tuple) and len(x) == 2 and isinstance(x[1], str)


def compared(ours: dict, theirs: dict) -> dict:
    """How far what a mesh has found is from what one device has."""
    found = {name: furthest(ours[name], theirs[name]) for name in ("start", "gradients", "moved")}
    loss = float(np.max(np.abs(ours["loss"] / theirs["loss"] - 1)))
    return found | {
        "loss": loss,
        "losses": [float(theirs["loss"][0]), float(theirs["loss"][-1])],
        "evaluated": [ours["evaluated"].tolist(), theirs["evaluated"].tolist()],
        "specs": ours["specs"],
        "gathered": ours["gathered"],
        "shapes": ours["shapes"],
    }


def one_case(case: dict, devices: list) -> dict:
    initialise = case.get("initialise", False)
    alone = case_config(case, {})
    one, found = train(program_of(alone, devices[:1]), alone, initialise=initialise), {}
    for name, mesh in (taken(case) if case.get("first") else case["meshes"]).items():
        with told_by_xla() as told:
            config = case_config(case, mesh)
            found[name] = compared(
                train(program_of(config, devices[: math.prod(mesh.values())]), config, initialise=initialise), one
            )
        found[name]["rematerialised"] = told
    return found


def taken(case: dict) -> dict:
    """The first mesh that does not refuse a case."""
    refused = {name: problems(case_config(case, mesh), n_devices=8) for name, mesh in case["meshes"].items()}
    name = next(name for name, found in refused.items() if not found)
    return {name: case["meshes"][name]}


def together(case: dict, devices: list) -> dict:
    """Two runs as one program, over 16 devices, each against itself on one device."""
    found, alone = {}, program_of(case_config(case, {}), devices[:1])
    for name, mesh in case["meshes"].items():
        configs = [case_config(case, mesh) for _ in range(2)]
        for seed, config in enumerate(configs):
            config.seed = seed
        both = train(program_of(configs[0], devices, members=2), *configs)
        for seed, config in enumerate(configs):
            own = jax.tree.map(lambda x, seed=seed: x[seed], {k: both[k] for k in ("start", "gradients", "moved")})
            own |= {k: both[k][:, seed] for k in ("loss", "evaluated")}
            own |= {k: both[k] for k in ("specs", "gathered", "shapes")}
            found[f"{name}, seed {seed}"] = compared(own, train(alone, config)) | {"rematerialised": []}
    return found


@contextmanager
def told_by_xla():
    """The partitioner's warnings of arrays that it could not reshard but by making them whole, which go to stderr."""
    sys.stderr.flush()
    lines, saved = [], os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            text = file.read().decode(errors="replace")
            warned = [line for line in text.splitlines() if "full rematerialization" in line]
            lines += [re.sub(r"^.*?\[SPMD\] ", "", line)[:600] for line in warned]
            sys.stderr.write("".join(f"{line}\n" for line in text.splitlines() if line not in warned))


def main(cases: list[dict]) -> None:
    devices = jax.devices()
    assert len(devices) == 16
    for case in cases:
        run = together if case.get("members") else one_case
        print(json.dumps({"id": case["id"], "meshes": run(case, devices)}), flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main(json.loads(sys.stdin.read()))
