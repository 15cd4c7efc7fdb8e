"""8 fake devices compute what one does: some variants in `make test`, every registered one in `make test-slow`."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models import FAMILIES
from variants import cases as variants

pytestmark = pytest.mark.xdist_group("sharded")

# What takes a path of its own through the partitioner, one of each kind.
CHOSEN = (
    "position-transformer_xl",
    "mixer-mamba2",
    "residual-hyper_connections",
    "mixer-mha(window=3), mha(kv_heads=2)",
)
# One key head, or three, cannot be split over two devices.
UNSPLIT = ("mha(kv_heads=1)",)
EXPERTS = {"data": 2, "fsdp": 2, "expert": 2}


def cases() -> dict[str, dict]:
    """By name: changes of the model, of other keys, and the mesh where it is not data 2, fsdp 2, tensor 2."""
    found = {
        name: {"model": changes} for name, family, changes in variants() if not set(UNSPLIT) & set(changes.values())
    }
    found = {name: case for name, case in found.items() if name.startswith("decoder_only-")}
    for name in ("moe", "moe(capacity=1.0)"):
        found[f"experts-{name}"] = {"model": {"ffn": name}, "mesh": EXPERTS}
    for family in FAMILIES:
        found[f"{family}-unrolled"] = {"model": {"family": family, "stack": "unroll"}}
        other = {"optim.accumulate": 2, "optim.ema": 0.9, "objective.z_loss": 1e-4, "objective.label_smoothing": 0.1}
        model = {"family": family, "tied_embeddings": False, "remat": "full", "dropout": 0.1, "bias": True}
        found[f"{family}-everything-on"] = {"model": model, "other": other}
    found["prefix_lm-adapted"] = {"model": {"family": "prefix_lm", "adapter": "lora(rank=2, on='*')"}}
    ends = {"embedding": "plain(types=2)", "embedding_norm": "layernorm", "head": "transform"}
    found["encoder_only-ends"] = {"model": {"family": "encoder_only", **ends}}
    return found


def is_chosen(name: str) -> bool:
    if name.startswith("decoder_only-"):
        return name.endswith(("unrolled", "everything-on", *CHOSEN))
    return not name.startswith(("encoder_only-e", "prefix_lm-e"))


@pytest.fixture
def results(request):
    return found(request.param)


@functools.cache  # a fixture would be torn down when another file's test comes between
def found(are_chosen: bool) -> dict[str, dict]:
    """What one process finds for all cases of the chosen kind."""
    chosen = [{"id": name, **case} for name, case in cases().items() if is_chosen(name) is are_chosen]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sharded_worker.py"))],
        input=json.dumps(chosen),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}


TABLE = [
    pytest.param(is_chosen(name), name, id=name, marks=[] if is_chosen(name) else [pytest.mark.slow])
    for name in cases()
]


@pytest.mark.parametrize("results, case", TABLE, indirect=["results"])
def test_eight_devices_equal_one(results, case):
    one, eight = results[case]["one"], results[case]["eight"]
    np.testing.assert_allclose(eight["start"], one["start"], rtol=1e-6)
    # Reductions over devices reorder float32 sums; five AdamW updates carry the difference along.
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=2e-5)
    assert one["loss"][-1] != one["loss"][0]
    axis = "expert" if case.startswith("experts") else "tensor"
    assert any(axis in spec for spec in eight["specs"]) and any("fsdp" in spec for spec in eight["specs"])
