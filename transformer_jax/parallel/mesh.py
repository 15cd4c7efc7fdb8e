"""The device mesh."""

import math
from collections import Counter

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from transformer_jax.errors import UserError

# replica carries independent runs and never communicates; data, fsdp and expert split the batch, fsdp the
# parameters too; tensor splits heads, feed-forward and vocabulary; context the length; expert the experts.
AXES = ("replica", "data", "fsdp", "tensor", "context", "expert")


def axis_sizes(mesh_config, n_devices: int) -> dict[str, int]:
    """The size of every axis, -1 resolved.

    Raises:
      UserError: if the sizes do not multiply to the number of devices.
    """
    sizes = {axis: mesh_config[axis] for axis in AXES}
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    bad = {axis: size for axis, size in sizes.items() if size < 1 and size != -1}
    if bad or len(open_axes) > 1:
        raise UserError(f"mesh={sizes}: give sizes of at least 1, and -1 (the rest) on one axis at most")
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if n_devices % fixed or (not open_axes and fixed != n_devices):
        raise UserError(
            f"mesh={sizes} needs {'a multiple of ' if open_axes else ''}{fixed} devices, and there are {n_devices}"
        )
    for axis in open_axes:
        sizes[axis] = n_devices // fixed
    return sizes


def make_mesh(mesh_config, devices=None) -> Mesh:
    """The mesh of `config.mesh` over all devices. Auto axes: logically partitioned linen needs them."""
    devices = jax.devices() if devices is None else devices
    return _laid_out(axis_sizes(mesh_config, len(devices)), devices)


def population_mesh(mesh_config, members: int, devices, replicas: int | None = None) -> Mesh:
    """The mesh of runs that train together: the devices that one run does not ask for carry other runs.

    A run takes the axes of `config.mesh`, -1 standing for 1. As many replicas are made as there are devices for,
    and no more than keep busy: of 8 devices and 12 runs, 6 carry 2 runs each. Devices of a CPU share its cores, so
    that one serves as well as several: there, runs that cannot be dealt out evenly lie on one.

    Args:
      replicas: as many, as runs that resume had; not taken if there are fewer devices.

    Raises:
      UserError: if one run needs more devices than there are.
    """
    one = {axis: 1 if mesh_config[axis] == -1 else mesh_config[axis] for axis in AXES}
    fixed = math.prod(one.values())
    if fixed > len(devices):
        raise UserError(f"mesh={one} needs {fixed} devices, and there are {len(devices)}")
    most = len(devices) // fixed
    if replicas is None or replicas > most:
        replicas = min(most, members)
        replicas = -(-members // -(-members // replicas))
        if devices[0].platform == "cpu" and members % replicas:
            replicas = 1
    return _laid_out(one | {"replica": replicas}, devices[: fixed * replicas])


def _laid_out(sizes: dict[str, int], devices) -> Mesh:
    """Devices on the axes, so that neighbours on the last axes lie closest to each other.

    TPU slices, and hosts of GPUs, that only a network joins are told apart by the first axes that they divide.
    """
    slices = Counter(getattr(device, "slice_index", 0) for device in devices)
    shape, left, between = tuple(sizes.values()), len(slices), []
    for size in shape:
        between.append(math.gcd(size, left))
        left //= between[-1]
    if len(slices) == 1:
        laid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    elif left == 1 and len(set(slices.values())) == 1:
        inside = [size // outside for size, outside in zip(shape, between, strict=True)]
        laid = mesh_utils.create_hybrid_device_mesh(inside, between, devices, allow_split_physical_axes=True)
    else:  # the axes cannot tell the slices apart
        laid = np.asarray(devices).reshape(shape)
    return Mesh(laid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
