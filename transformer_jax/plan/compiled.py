"""`compile_step`: the train step of a config compiled for devices that need not be here, and what the compiler says."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from transformer_jax import config as config_lib
from transformer_jax.batch import Batch
from transformer_jax.data.views.base import views
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.parallel.mesh import AXES, make_mesh
from transformer_jax.plan import collectives, machines, topologies
from transformer_jax.plan.vocabulary import vocab_of
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.program import Program, program
from transformer_jax.train.step import Recipe

_GIB = 2**30
_SIZE = r"([\d.]+)([KMGT]?)"  # as compilers print one


class DoesNotFit(UserError):
    """The compiler found no way to hold the program in a device's memory.

    Attributes:
      needed, available: bytes per device, as the compiler says (some speak of temporaries alone); None if it does not.
      told: its own words.
    """

    def __init__(self, told: str):
        self.told, self.needed, self.available = told, None, None
        used = re.search(rf"{_SIZE}[^\d]* (?:of|exceeds) [^\d]*{_SIZE}", told)
        if used:
            self.needed, self.available = _bytes(used[1], used[2]), _bytes(used[3], used[4])
            told = f"{self.needed / _GIB:.1f} GiB of {self.available / _GIB:.1f} GiB per device"
        super().__init__(f"out of memory, says the compiler: {told}")


@dataclass(frozen=True)
class Compiled:
    """The train step for one update, as a compiler sees it.

    Attributes:
      memory: bytes per device: `arguments` (state and batch), `outputs`, `aliased` (outputs that lie where arguments
        were), `temporaries`, `code`, and `total`, which a device must have.
      text: the partitioned program (HLO).
      mesh: axis sizes.
      seconds: it took to trace and compile.
      notes: what differs from the step that would run on such devices, and what the compiler warned of.
    """

    memory: dict[str, int]
    text: str
    mesh: dict[str, int]
    seconds: float
    notes: tuple[str, ...] = ()

    @cached_property
    def collectives(self) -> list[collectives.Collective]:
        """What it sends between devices."""
        return collectives.count(self.text, self.mesh)


def compile_step(config, mesh_sizes: Mapping[str, int], devices: Sequence, vocab: int | None = None) -> Compiled:
    """Compiles one update of `config`. No data are read, nothing is computed, no parameter is made.

    Args:
      config: a valid ConfigDict; its own mesh is not read.
      mesh_sizes: of the mesh axes; those that are not named are 1.
      devices: to compile for: of this process, or from `topologies.devices`.
      vocab: the tokenizer's vocabulary size; None asks the config's tokenizer.

    Raises:
      DoesNotFit: if the program does not fit into a device's memory, where the compiler checks that.
      UserError: if the mesh does not have as many devices, or cannot divide the parameters.
    """
    started = time.monotonic()
    config = config_lib.from_dict(config_lib.to_dict(config))
    for axis in AXES:
        config.mesh[axis] = mesh_sizes.get(axis, 1)
    notes = _without_what_asks_the_device(config, devices)
    mesh = make_mesh(config.mesh, devices)
    arch = Arch.from_config(config, vocab=vocab_of(config, vocab), platform=_platform(devices))
    step = program(arch, Recipe.from_config(config), mesh)
    lowered = step.lower_train(step.all_structs, batch_structs(config, step), hyper_structs(config, step))
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise told_by(error) from None
    return Compiled(_memory(compiled), compiled.as_text(), dict(mesh.shape), time.monotonic() - started, notes)


def compile_apart(config, mesh_sizes: Mapping[str, int], machine: str, vocab: int | None = None) -> Compiled:
    """`compile_step` for a machine, in a process of its own.

    The number of fake devices is set before JAX starts, and a compiler that aborts ends nothing but that process.

    Raises:
      DoesNotFit, UserError: as `compile_step` and `topologies.devices`; also if the compiler crashed.
    """
    machines.parse(machine)
    task = {"config": config_lib.to_dict(config), "mesh": dict(mesh_sizes), "machine": machine, "vocab": vocab}
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-m", "transformer_jax.plan.compiled", str(answer)],
            input=json.dumps(task),
            stderr=subprocess.PIPE,
            text=True,
        )
        if not answer.exists():
            raise UserError(f"the compiler for {machine} {_end(done.returncode)}:\n{done.stderr[-2000:]}")
        told = json.loads(answer.read_text())
    if "memory" not in told:
        raise DoesNotFit(told["does_not_fit"]) if "does_not_fit" in told else UserError(told["error"])
    return Compiled(**told | {"notes": (*told["notes"], *warnings(done.stderr))})


def batch_structs(config, step: Program) -> Batch:
    """One update's batch, as the data of a config would give it."""
    d = config.data
    sharding = step.batch_sharding(leading=1)

    def rows(length, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((1, d.batch_size, length), dtype, sharding=sharding)

    whole_BL = rows(d.length)
    batch = Batch(whole_BL, whole_BL, rows(d.length, jnp.float32), whole_BL, whole_BL, whole_BL)
    if views.build(d.view).has_parts:
        batch = batch.replace(parts_BL=whole_BL)
    if step.arch.reads_source:
        whole_BM = rows(d.source_length)
        batch = batch.replace(source_BM=whole_BM, source_positions_BM=whole_BM, source_segments_BM=whole_BM)
    return batch


def hyper_structs(config, step: Program) -> Hyper:
    """The hyperparameters, without values."""
    everywhere = NamedSharding(step.mesh, PartitionSpec())
    shapes = jax.eval_shape(lambda: Hyper.from_config(config, step.arch))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes)


def warnings(stderr: str) -> list[str]:
    """Of what a compiler printed, the arrays that it copied whole because it could not go from sharding to sharding."""
    found = re.findall(r"Involuntary full rematerialization.*?(?:from|HLO).*", stderr)
    return list(dict.fromkeys(line.strip()[:400] for line in found))


def _platform(devices) -> str:
    """As configs call it: what JAX calls cuda or rocm is a gpu."""
    platform = devices[0].platform
    return "gpu" if platform in ("cuda", "rocm") else platform


def _without_what_asks_the_device(config, devices) -> tuple[str, ...]:
    """Changes `config` where a kernel must look at a device that is not here, and says what it changed."""
    described = devices[0].client is not jax.devices()[0].client if _platform(devices) == "gpu" else False
    if not described or config.model.attention not in ("auto", "cudnn"):
        return ()
    config.model.attention = "xla"
    return (
        "attention is XLA's, which keeps all logits: cuDNN's fused kernel, which a GPU would run, asks the device for "
        "its version when it is compiled",
    )


def _memory(compiled) -> dict[str, int]:
    told = compiled.memory_analysis()
    sizes = {
        "arguments": told.argument_size_in_bytes,
        "outputs": told.output_size_in_bytes,
        "aliased": told.alias_size_in_bytes,
        "temporaries": told.temp_size_in_bytes,
        "code": told.generated_code_size_in_bytes,
    }
    return sizes | {"total": sum(sizes.values()) - 2 * sizes["aliased"]}


def told_by(error: Exception) -> UserError:
    """What a compiler's refusal means."""
    message = str(error)
    if "RESOURCE_EXHAUSTED" not in message and "Ran out of memory" not in message:
        return UserError(f"the compiler refuses: {message[:2000]}")
    line = next((line for line in message.splitlines() if re.search(_SIZE + ".* (of|exceeds) ", line)), message)
    return DoesNotFit(line[:2000])


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * 1024 ** " KMGT".index(unit or " "))


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _main(answer: Path) -> None:
    """Run by `compile_apart`: a task on stdin, what the compiler says in a file."""
    task = json.loads(sys.stdin.read())
    try:
        devices = topologies.devices(task["machine"])
        compiled = compile_step(config_lib.from_dict(task["config"]), task["mesh"], devices, task["vocab"])
        told = asdict(compiled)
    except DoesNotFit as error:
        told = {"does_not_fit": error.told}
    except UserError as error:
        told = {"error": str(error)}
    answer.write_text(json.dumps(told))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
