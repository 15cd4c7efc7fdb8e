"""Run by test_collectives.py in a process of its own with 8 fake devices: prints compiled programs as JSON."""

import json

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

MESH = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
ROWS = jnp.ones((16, 4))


def on_each(function, spec):
    """`function` on each device's part, whose result differs from device to device."""
    return jax.shard_map(function, mesh=MESH, in_specs=spec, out_specs=spec, check_vma=False)


def loop(function, times):
    return lambda x: jax.lax.scan(lambda c, _: (function(c), None), x, None, length=times)[0]


def summed(x):
    return jax.lax.psum(2 * x, "fsdp")


SPEC = P(("data", "fsdp"), "tensor")  # [4, 2] on each device: 32 bytes
PROGRAMS = {
    "scan": on_each(loop(summed, 5), SPEC),
    "nested scans": on_each(loop(loop(summed, 3), 4), SPEC),
    "several axes": on_each(lambda x: x + jax.lax.psum(x, ("data", "tensor")), SPEC),
    "gather": on_each(lambda x: x + jax.lax.all_gather(x, "tensor").sum(0), SPEC),
    "shift": on_each(lambda x: jax.lax.ppermute(x, "data", [(0, 1), (1, 0)]), SPEC),
    "scatter": on_each(lambda x: jnp.tile(jax.lax.psum_scatter(x, "fsdp", tiled=True), (2, 1)), SPEC),
    "exchange": on_each(lambda x: jax.lax.all_to_all(x, "tensor", 0, 1, tiled=True).reshape(x.shape), SPEC),
    "branches": on_each(lambda x: jax.lax.cond(x.sum() > 0, summed, lambda x: summed(summed(x)), x), SPEC),
    "none": on_each(jnp.sin, SPEC),
}


def partitioned():
    """x W with W's rows on fsdp, which the partitioner gathers; x [16, 4] on data x fsdp, W [4, 8]."""
    lie = [
        NamedSharding(MESH, spec) for spec in (P(("data", "fsdp")), P("fsdp", "tensor"), P(("data", "fsdp"), "tensor"))
    ]
    step = jax.jit(lambda x, w: x @ w, in_shardings=lie[:2], out_shardings=lie[2])
    return step.lower(ROWS, jnp.ones((4, 8))).compile()


def main() -> None:
    texts = {name: jax.jit(program).lower(ROWS).compile().as_text() for name, program in PROGRAMS.items()}
    print(json.dumps(texts | {"partitioned": partitioned().as_text()}))


if __name__ == "__main__":
    main()
