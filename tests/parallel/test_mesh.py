"""How devices are laid over the axes: those that only a network joins are told apart by the first axes."""

from types import SimpleNamespace

import numpy as np
import pytest

from transformer_jax.parallel.mesh import AXES, _laid_out


def devices(*slices: int) -> list:
    return [
        SimpleNamespace(id=i, slice_index=at, platform="cpu", device_kind="cpu", process_index=at, client=None)
        for i, at in enumerate(slices)
    ]


def laid(monkeypatch, found: list, **sizes) -> np.ndarray:
    monkeypatch.setattr("transformer_jax.parallel.mesh.Mesh", lambda laid, *args, **kwargs: laid)
    array = _laid_out({axis: sizes.get(axis, 1) for axis in AXES}, found)
    return np.vectorize(lambda device: device.slice_index)(array).squeeze()


def test_one_slice_keeps_the_order(monkeypatch):
    monkeypatch.setattr("transformer_jax.parallel.mesh.Mesh", lambda laid, *args, **kwargs: laid)
    sizes = dict.fromkeys(AXES, 1) | {"data": 2, "tensor": 4}
    assert [device.id for device in _laid_out(sizes, devices(*[0] * 8)).flat] == list(range(8))


@pytest.mark.parametrize(
    "order, sizes, expected",
    [
        ((0, 0, 0, 0, 1, 1, 1, 1), {"data": 2, "fsdp": 4}, [[0, 0, 0, 0], [1, 1, 1, 1]]),
        ((0, 1, 0, 1, 0, 1, 0, 1), {"data": 2, "fsdp": 4}, [[0, 0, 0, 0], [1, 1, 1, 1]]),
        ((0, 0, 0, 0, 1, 1, 1, 1), {"fsdp": 4, "tensor": 2}, [[0, 0], [0, 0], [1, 1], [1, 1]]),
        ((0, 0, 1, 1, 2, 2, 3, 3), {"data": 2, "tensor": 4}, [[0, 0, 1, 1], [2, 2, 3, 3]]),
        ((0, 0, 0, 1, 1, 1), {"data": 2, "fsdp": 3}, [[0, 0, 0], [1, 1, 1]]),
        ((0, 0, 0, 1), {"data": 2, "fsdp": 2}, [[0, 0], [0, 1]]),
        ((0, 1, 2), {"data": 3}, [0, 1, 2]),
    ],
)
def test_slices_lie_on_the_first_axes(monkeypatch, order, sizes, expected):
    assert laid(monkeypatch, devices(*order), **sizes).tolist() == expected
