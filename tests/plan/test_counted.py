"""What a plan counts against 8 fake devices: the arrays themselves, and what XLA says of the compiled step."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("plan")

CUBE = {"data": 2, "fsdp": 2, "tensor": 2}
STATES = {
    "plain": {"model": {}, "mesh": CUBE},
    "ema": {"model": {"bias": True}, "mesh": {"fsdp": 8}, "other": {"optim.ema": 0.9}},
    "encoder-decoder": {"model": {"family": "encoder_decoder", "position": "t5"}, "mesh": CUBE},
    "experts": {"model": {"ffn": "moe(capacity=2.0)"}, "mesh": {"data": 2, "fsdp": 2, "expert": 2}},
    "adapter": {"model": {"adapter": "lora(rank=2)"}, "mesh": {"data": 4, "fsdp": 2}},
    "streams": {"model": {"residual": "hyper_connections", "tied_embeddings": False}, "mesh": CUBE},
    "pattern": {"model": {"mixer": "mamba2, mha(kv_heads=2)", "position": "none"}, "mesh": {"data": 4, "fsdp": 2}},
}
LARGER = {"width": 128, "ffn_size": 512, "heads": 8, "layers": 4, "encoder_layers": 4}
STEPS = {
    "plain": {"model": LARGER, "mesh": {"fsdp": 8}},
    "remat": {"model": LARGER | {"remat": "full"}, "mesh": CUBE},
    "encoder-decoder": {"model": LARGER | {"family": "encoder_decoder"}, "mesh": {"fsdp": 4, "tensor": 2}},
    "unrolled": {"model": LARGER | {"stack": "unroll"}, "mesh": {"data": 8}},
    "context": {"model": LARGER, "mesh": {"data": 4, "context": 2}},
    "experts": {"model": LARGER | {"ffn": "moe(capacity=2.0)"}, "mesh": {"data": 2, "fsdp": 2, "expert": 2}},
    "parts": {"model": LARGER, "mesh": {"data": 4, "fsdp": 2}, "other": {"optim.accumulate": 2}},
}
QUICK_STATES = ("encoder-decoder", "experts", "adapter")
QUICK = ("remat",)
# Temporaries of a compiled step, ours over theirs. What a plan leaves out is small (fusion's scratch), what it counts
# and XLA avoids is larger (unrolled layers share buffers, a layer computed again frees as it goes).
LEAST, MOST = 0.75, 1.4
# What is sent over an axis, ours over theirs: XLA:CPU makes reduce-scatters of all-reduces, which send twice as much,
# and adds up the gradients of queries, keys and values only after they were sent.
LEAST_SENT, MOST_SENT = 0.55, 1.35


@functools.cache
def found(what: str, names: tuple[str, ...], fast: bool) -> dict[str, dict]:
    """What one process finds."""
    table = {"measured": STATES, "compiled": STEPS}[what]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1" if fast else "0",
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("plan_worker.py"))],
        input=json.dumps([{"what": what, "length": 16 if fast else 128, **table[name]} for name in names]),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))


def table(names, quick) -> list:
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in names]


def found_of(what: str, name: str, names, quick) -> dict:
    return found(what, tuple(each for each in names if (each in quick) is (name in quick)), what == "measured")[name]


@pytest.mark.parametrize("name", table(STATES, QUICK_STATES))
def test_the_state_has_the_bytes_that_were_planned(name):
    result = found_of("measured", name, STATES, QUICK_STATES)
    assert result["planned"] == result["real"]
    assert result["real"]["params"] > 0 and result["real"]["opt_state"] > 0


@pytest.mark.parametrize("name", table(STEPS, QUICK))
def test_the_compiled_step_needs_what_was_planned(name):
    result = found_of("compiled", name, STEPS, QUICK)
    planned, real = result["arguments"]
    assert planned == pytest.approx(real, abs=4096)  # hyperparameters; batch arrays that nobody reads
    planned, real = result["temporaries"]
    assert LEAST < planned / real < MOST
    assert result["sent"].keys() >= {axis for axis in ("fsdp", "tensor") if axis in STEPS[name]["mesh"]}
    for axis, (planned, real) in result["sent"].items():
        assert LEAST_SENT < planned / real < MOST_SENT, axis
