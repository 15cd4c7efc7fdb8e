"""The reference programs of `budgets`, and what the compiler says of each. Run as a process of its own."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

VOCAB = 512
CASES: dict[str, Callable[[], dict[str, float]]] = {}


def _register(name: str):
    def add(function):
        CASES[name] = function
        return function

    return add


@_register("a run")  # the first, as what others have compiled would not count
def _run() -> dict[str, float]:
    """A run from data to result with four evaluations, and another seed after it: programs that were compiled."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)  # they are counted, no more
    from transformer_jax import compilation
    from transformer_jax.train.loop import train_together

    found = {}
    for name, seed in (("compilations", 0), ("compilations, another seed", 1)):
        config = _config(model__layers=1, data__batch_size=4, train__steps=8, train__eval_every=2, seed=seed)
        config.train.test_batches, config.train.eval_batches, config.run.tensorboard = 2, 2, False
        config.optim.warmup_steps = 2
        config.run.log_every = config.run.checkpoint_every = 2
        config.train.steps_per_dispatch = 2
        with tempfile.TemporaryDirectory() as directory, compilation.counted() as seen:
            train_together([config], [Path(directory) / "run"], devices=jax.devices()[:1])
        found[name] = seen.compiled
    jax.config.update("jax_disable_most_optimizations", False)
    return found


def _case(name: str, **changes):
    """Registers a train step: keys of the config, dots written `__`; `members` for a population."""
    _register(name)(lambda: _train_step(**changes))


_case("decoder, scanned")
_case("decoder, unrolled", model__stack="unroll", model__layers=3)
_case("encoder-decoder", model__family="encoder_decoder", data__view="pairs")
_case("bfloat16, remat full", model__dtype="bfloat16", model__remat="full")
_case("mixture of experts", model__ffn="moe(experts=4)")
_case("fsdp 2 x tensor 2 x context 2", mesh__data=1, mesh__fsdp=2, mesh__tensor=2, mesh__context=2)
_case("population of 4", members=4)


@_register("evaluation")
def _evaluation() -> dict[str, float]:
    import jax

    from transformer_jax.plan.compiled import batch_structs

    program = _program(config := _config())
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype, sharding=program.batch_sharding()),
        batch_structs(config, program),
    )
    return _said(program.lower_evaluate(program.state_structs.params, batch).compile())


@_register("decoding, a step")
def _decoding() -> dict[str, float]:
    """16 rows; the loop around the step is in the program, and counts once."""
    import jax
    import jax.numpy as jnp

    from transformer_jax.decode import Sampling
    from transformer_jax.decode.generate import advance, start
    from transformer_jax.plan.compiled import batch_structs

    config = _config(data__batch_size=16)
    program = _program(config)
    prompt = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch_structs(config, program))
    params = program.param_shapes
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 16))
    done, limit = jax.ShapeDtypeStruct((16,), jnp.bool_), jax.ShapeDtypeStruct((), jnp.int32)
    given = dict(sampling=Sampling(0.0), eos=(2,))

    def begin(params, prompt, keys, done, limit):
        return start(program.arch, params, prompt, keys, done, limit, room=128, **given)

    state = jax.eval_shape(begin, params, prompt, keys, done, limit)
    return _said(advance.lower(program.arch, params, state, limit, **given).compile())


def _train_step(members: int | None = None, **changes) -> dict[str, float]:
    import jax

    from transformer_jax.plan.compiled import batch_structs, hyper_structs
    from transformer_jax.train.traced_flops import count

    config = _config(**changes)
    program = _program(config, members)
    batch, hyper = batch_structs(config, program), hyper_structs(config, program)
    bare = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (program.state_structs, batch, hyper))
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), bare[1])
    flops = count(jax.make_jaxpr(program.step.update)(bare[0], one, bare[2])) * (members or 1)
    if members is not None:
        batch = _stacked(batch, members, program.batch_sharding(leading=1, per_member=True))
        hyper = _stacked(hyper, members, jax.sharding.NamedSharding(program.mesh, jax.P("replica")))
    compiled = program.lower_train(program.all_structs, batch, hyper).compile()
    return {"FLOPs of matrix products, traced": flops} | _said(compiled, program.mesh)


def _stacked(tree, members: int, sharding):
    import jax

    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype, sharding=sharding), tree)


def _config(**changes):
    """Six layers of width 128; eight rows of 128 tokens."""
    from transformer_jax import config as config_lib

    config = config_lib.base()
    config.model.layers = config.model.encoder_layers = 6
    config.model.width, config.model.heads, config.model.ffn_size = 128, 4, 512
    config.model.stack = "scan"
    config.data.length = config.data.source_length = 128
    config.data.batch_size = 8
    for key, value in changes.items():
        config_lib.override(config, key.replace("__", "."), value)
    return config


def _program(config, members: int | None = None):
    import jax

    from transformer_jax.parallel.mesh import AXES, make_mesh
    from transformer_jax.train.loop import compiled_program

    sizes = [config.mesh[axis] for axis in AXES]
    devices = jax.devices() if -1 not in sizes else jax.devices()[:1]
    return compiled_program(config, VOCAB, make_mesh(config.mesh, devices), members)


def _said(compiled, mesh=None) -> dict[str, float]:
    """What the compiler says of a program, and what it sends between the devices of a mesh."""
    from transformer_jax.plan import collectives

    cost, memory, text = compiled.cost_analysis(), compiled.memory_analysis(), compiled.as_text()
    found = {
        "FLOPs, loops once": cost["flops"],
        "bytes accessed, loops once": cost["bytes accessed"],
        "bytes of temporaries": memory.temp_size_in_bytes,
        "bytes of arguments": memory.argument_size_in_bytes,
        "bytes of outputs that overwrite arguments": memory.alias_size_in_bytes,
        "instructions": len(re.findall(r"^ +(?:ROOT )?%?[\w.-]+ = ", text, re.MULTILINE)),
        "fusions": len(re.findall(r" fusion\(", text)),
    }
    if mesh is not None and mesh.size > 1:
        for each in collectives.count(text, mesh):
            name = f"bytes sent, {each.kind} over {', '.join(each.axes)}"
            found[name] = found.get(name, 0.0) + each.bytes_in_all
    return found


def _main(answer: Path, cases: list[str]) -> None:
    if hasattr(os, "sched_setaffinity"):  # before jax starts: loops are split for as many cores as there are
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {name: case() for name, case in CASES.items() if not cases or name in cases}
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
