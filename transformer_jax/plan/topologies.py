"""`devices`: those of a machine that is not here, to compile for; nothing can be run on them."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import jax
from jax.experimental import topologies

from transformer_jax.errors import UserError
from transformer_jax.plan.machines import Machine, parse

# What XLA asks about a GPU before it compiles for it, as the hardware tells it (CUDA's deviceQuery, `nvidia-smi`;
# XLA keeps the same figures in xla/backends/gpu/target_config/specs). Sizes in bytes.
_ALL = """
threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
registers_per_core_limit: 65536 registers_per_block_limit: 65536
shared_memory_per_block: 49152
runtime_version: "12.8.0" dnn_version: "9.10.0"
"""
_AMPERE = """
core_count: 108 fpus_per_core: 64 clock_rate_ghz: 1.41 l2_cache_size: 41943040
shared_memory_per_core: 167936 shared_memory_per_block_optin: 166912
cuda_compute_capability { major: 8 }
"""
_HOPPER = """
core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 l2_cache_size: 52428800
shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
"""
_BLACKWELL = """
core_count: 148 fpus_per_core: 128 clock_rate_ghz: 1.965 l2_cache_size: 132644864
shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 10 feature_extension: ACCELERATED_FEATURES }
"""


@dataclass(frozen=True)
class _Gpu:
    name: str
    generation: str
    memory: int  # bytes
    bandwidth: int  # of it, bytes per second

    @property
    def target(self) -> str:
        """A GpuTargetConfigProto as text."""
        own = f"memory_bandwidth: {self.bandwidth} device_memory_size: {self.memory}"
        return (
            f"gpu_device_info {{ {_ALL} {self.generation} {own} }}\n"
            'platform_name: "CUDA"\n'
            "dnn_version_info { major: 9 minor: 10 patch: 0 }\n"
            f'device_description_str: "{self.name}"\n'
        )


_GPUS = {
    "A100": _Gpu("NVIDIA A100-SXM4-80GB", _AMPERE, 85_100_068_864, 2_039_040_000_000),
    "H100": _Gpu("NVIDIA H100 80GB HBM3", _HOPPER, 84_942_979_072, 3_352_320_000_000),
    "H200": _Gpu("NVIDIA H200 141GB HBM3e", _HOPPER, 151_397_597_184, 4_800_000_000_000),
    "B200": _Gpu("NVIDIA B200", _BLACKWELL, 191_514_411_008, 7_672_320_000_000),
}


def devices(machine: str) -> Sequence:
    """The devices of a machine, as JAX would give them.

    Those of 'cpu:8' are fake devices of this process, which must not have asked JAX for devices before. Of TPUs and
    GPUs there are descriptions only; this process leaves alone what accelerators it may have itself.

    Raises:
      UserError: for a machine that is not known, or if what compiles for it is not installed.
    """
    found = parse(machine)
    return {"cpu": _fake, "tpu": _tpu, "gpu": _gpu}[found.platform](found)


def _fake(machine: Machine) -> Sequence:
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # this process has its devices already: they may be enough
            jax.config.update("jax_num_cpu_devices", machine.devices)
    have = jax.devices("cpu")
    if len(have) < machine.devices:
        raise UserError(f"machine={machine.text!r}: this process has {len(have)} devices already; begin another")
    return have[: machine.devices]


def _tpu(machine: Machine) -> Sequence:
    if find_spec("libtpu") is None:
        raise UserError(f'machine={machine.text!r}: it is compiled for by libtpu: pip install "transformer_jax[tpu]"')
    _leave_accelerators_alone()
    # libtpu would ask a metadata server that only clouds have, and refuse to be loaded by two processes.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    name = f"{machine.kind.name}:{'x'.join(map(str, machine.topology))}"
    more = {"num_slices": machine.slices} if machine.slices > 1 else {}
    if machine.kind.name == "v4":
        more["chip_config_name"] = "megacore"  # two cores are one device, as on a real one
    try:
        return topologies.get_topology_desc(name, "tpu", **more).devices
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        raise UserError(f"machine={machine.text!r}: libtpu has no such topology: {_first_line(error)}") from None


def _gpu(machine: Machine) -> Sequence:
    if not any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        raise UserError(
            f"machine={machine.text!r}: it is compiled for by JAX's CUDA plugin: pip install "
            '"transformer_jax[plan-gpu]"'
        )
    _leave_accelerators_alone()
    here = min(machine.devices, machine.kind.per_host)
    shape = f"1x{machine.devices // here}x{here}"
    target = _GPUS[machine.kind.name].target
    try:
        return topologies.get_topology_desc("", "cuda", target_config=target, topology=shape).devices
    except (jax.errors.JaxRuntimeError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"machine={machine.text!r} cannot be described: {_first_line(error)}") from None


def _leave_accelerators_alone() -> None:
    """This process compiles only."""
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
