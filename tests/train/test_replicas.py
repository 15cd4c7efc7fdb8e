"""Over how many replicas runs that train together are laid."""

from types import SimpleNamespace

import numpy as np
import pytest
from population_cases import tiny

from transformer_jax.parallel import mesh
from transformer_jax.parallel.mesh import AXES, population_mesh

GPU = SimpleNamespace(platform="gpu")


@pytest.fixture(autouse=True)
def sizes_and_devices(monkeypatch):
    """In place of a mesh, which takes real devices."""
    monkeypatch.setattr(mesh, "_laid_out", lambda sizes, devices: (sizes, devices))


@pytest.mark.parametrize("before, replicas", [(None, 4), (2, 2), (8, 4)])
def test_runs_resume_on_as_many_replicas_as_they_had(before, replicas):
    assert population_mesh(tiny().mesh, 8, [GPU] * 4, before)[0]["replica"] == replicas


@pytest.mark.parametrize(
    ("members", "devices", "axes", "replicas"),
    [(12, 8, {}, 6), (3, 8, {}, 3), (9, 8, {}, 5), (4, 8, {"fsdp": 2}, 4), (4, 8, {"fsdp": 8}, 1), (1, 4, {}, 1)],
)
def test_replicas_are_no_more_than_keep_busy(members, devices, axes, replicas):
    config = tiny(**{f"mesh__{axis}": size for axis, size in axes.items()}).mesh
    sizes, taken = population_mesh(config, members, [GPU] * devices)
    assert sizes == dict.fromkeys(AXES, 1) | axes | {"replica": replicas}
    assert len(taken) == replicas * np.prod(list(axes.values()), initial=1)
