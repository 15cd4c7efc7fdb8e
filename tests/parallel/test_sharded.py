"""8 fake devices (data 2, fsdp 2, tensor 2) compute what one device computes, for every registered variant."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models import FAMILIES, small_arch

from transformer_jax.validate import MODEL_SPECS

pytestmark = pytest.mark.xdist_group("sharded")


def cases():
    seen = set()
    for axis, (registry, _) in MODEL_SPECS.items():
        if axis in ("family", "cross_mixer"):
            continue
        for name in registry.names():
            # Two groups, because one key head cannot be split over two devices.
            spec = "mha(kv_heads=2)" if name == "mha" else name
            if (arch := small_arch(**{axis: spec})) in seen:
                continue  # the defaults of all axes come to the same model
            seen.add(arch)
            yield {"id": f"decoder_only-{axis}-{spec}", "model": {axis: spec}}
    for family in FAMILIES:
        yield {"id": f"{family}-unrolled", "model": {"family": family, "stack": "unroll"}}
        other = {"optim.accumulate": 2, "optim.ema": 0.9, "objective.z_loss": 1e-4, "objective.label_smoothing": 0.1}
        model = {"family": family, "tied_embeddings": False, "remat": "full", "dropout": 0.1, "bias": True}
        yield {"id": f"{family}-everything-on", "model": model, "other": other}


@pytest.fixture(scope="module")
def results():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sharded_worker.py"))],
        input=json.dumps(list(cases())),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", [case["id"] for case in cases()])
def test_eight_devices_equal_one(results, case):
    one, eight = results[case]["one"], results[case]["eight"]
    np.testing.assert_allclose(eight["start"], one["start"], rtol=1e-6)
    # Reductions over devices reorder float32 sums; five AdamW updates carry the difference along.
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=2e-5)
    assert one["loss"][-1] != one["loss"][0]
    assert any("tensor" in spec for spec in eight["specs"]) and any("fsdp" in spec for spec in eight["specs"])
