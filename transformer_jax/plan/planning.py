"""`plan`: what a config needs and can reach on a machine that need not be at hand. Nothing is compiled or computed."""

import dataclasses
import functools
from collections.abc import Iterator

import jax

from transformer_jax import config as config_lib
from transformer_jax.data.corpora.base import corpora
from transformer_jax.errors import UserError
from transformer_jax.model.arch import Arch
from transformer_jax.model.ffn import ffns
from transformer_jax.parallel.mesh import axis_sizes
from transformer_jax.plan import labels, machines, search, traced
from transformer_jax.plan.communication import How, Sent, communication
from transformer_jax.plan.layout import layout
from transformer_jax.plan.machines import Machine
from transformer_jax.plan.memory import Held, Needs, held
from transformer_jax.plan.result import MeshPlan, Plan
from transformer_jax.plan.roofline import Bound, bound
from transformer_jax.plan.vocabulary import vocab_of
from transformer_jax.registry import parse_pattern
from transformer_jax.train import flops
from transformer_jax.train.step import Recipe, Step
from transformer_jax.validate import mesh_problems, problems

# Share of a device's memory that is left to the runtime, to fragments and to what is not counted.
RESERVE = 0.1
# Columns of a parameter that fsdp should leave a TPU, whose arrays lie in tiles of 128: 64 were still gathered and
# scattered, 8 were summed whole (docs/compiled_plans.md).
_COLUMNS = 64
# Meshes that are shown.
_SHOWN = 5


class Planner:
    """A config on machines of one platform; what hangs on no mesh is counted once.

    Raises:
      UserError: for a config that cannot be run on any mesh.
    """

    def __init__(self, config, platform: str, vocab: int | None = None, reserve: float = RESERVE):
        self.config, self.platform, self.reserve = _copy(config), platform, reserve
        self.notes = _without_corpus(self.config)
        found = problems(_on_one(self.config), platform=platform)
        if found:
            raise UserError("\n".join(found))
        self.vocab = vocab_of(config, vocab)
        arch = Arch.from_config(_on_one(self.config), vocab=self.vocab, platform=platform)
        self.is_fused = arch.execution.attention == "cudnn" and traced.fuses(arch)
        if arch.execution.attention == "cudnn":  # which asks a device; what it keeps is known
            arch = traced.with_execution(arch, attention="xla")
        self.step = Step(arch, Recipe.from_config(self.config))

    @functools.cached_property
    def needs(self) -> Needs:
        step, micro = self.step, self.config.optim.accumulate
        kept = traced.trace(step, *self._structs)
        whole = kept
        if step.arch.execution.remat != "none":
            whole = traced.trace(Step(traced.with_execution(step.arch, remat="none"), step.recipe), *self._structs)
        times = self.config.train.steps_per_dispatch * micro
        batches = tuple(
            dataclasses.replace(each, dims=(((None, times),), *each.dims))
            for each in (
                labels.named(leaf, (labels.BATCH, labels.LENGTH)) for leaf in jax.tree.leaves(self._structs[0])
            )
        )
        itemsize = jax.numpy.dtype(step.arch.execution.dtype).itemsize
        return Needs(layout(step), kept, whole, batches, itemsize, micro, self.is_fused)

    @functools.cached_property
    def tokens(self) -> int:
        """Of one update, source and padding included."""
        d = self.config.data
        return d.batch_size * (d.length + (d.source_length if self.step.arch.reads_source else 0))

    @functools.cached_property
    def flops(self) -> dict[str, float]:
        d, arch = self.config.data, self.step.arch
        rows = d.batch_size // self.config.optim.accumulate
        per_token = flops.flops_per_token(arch, self.step.boxed_params, d.length, d.source_length, rows=rows)
        executed = traced.executed_flops(self.step, *self._structs) if self.needs.again else None
        model = per_token * self.tokens
        return {
            "model": model,
            "executed": model if executed is None else max(model, executed * self.config.optim.accumulate),
            "per_token": per_token,
        }

    @functools.cached_property
    def _structs(self):
        return traced.structs(self.config, self.step.arch)

    def budget(self, machine: Machine) -> float | None:
        memory = machine.kind.memory
        return None if memory is None else memory * (1 - self.reserve)

    def on(self, machine: Machine, sizes: dict[str, int]) -> MeshPlan:
        """One mesh that the config accepts."""
        needs = self.needs
        found = held(needs, sizes)
        sent = communication(needs.layout, needs.traced, sizes, How(needs.itemsize, needs.micro, self._again))
        limit = self.bound(machine, sizes, found, sent)
        budget = self.budget(machine)
        narrow = self.platform == "tpu" and sizes["fsdp"] > 1 and self.config.model.width < _COLUMNS * sizes["fsdp"]
        return MeshPlan(sizes, found, sent, limit, None if budget is None else found.total <= budget, narrow)

    @property
    def _again(self) -> bool:
        return self.step.arch.execution.remat == "full"

    def bound(self, machine: Machine, sizes, found: Held, sent: Sent) -> Bound | None:
        flops = self.flops
        return bound(
            machine,
            sizes,
            dtype=self.step.arch.execution.dtype,
            flops=flops["executed"],
            model_flops=flops["model"],
            moved=found.moved,
            sent=sent,
        )

    def meshes(self, machine: Machine) -> Iterator[dict[str, int]]:
        """All of as many devices, with an expert axis where there are experts."""
        experts = any("experts" in ffns.options(spec) for spec in parse_pattern(self.config.model.ffn))
        return search.meshes(machine.devices, experts=experts)

    def accepted(self, machine: Machine) -> Iterator[dict[str, int]]:
        """The meshes that divide the batch, the length and all parameters."""
        for sizes in self.meshes(machine):
            if self.needs.layout.fits(sizes) and not mesh_problems(
                self.with_mesh(sizes), machine.devices, self.platform
            ):
                yield sizes

    def refusal(self, sizes: dict[str, int], machine: Machine) -> list[str]:
        """Why a mesh is refused; empty if it is not."""
        found = problems(self.with_mesh(sizes), n_devices=machine.devices, platform=self.platform)
        resolved = axis_sizes(self.with_mesh(sizes).mesh, machine.devices) if not found else None
        if resolved and not self.needs.layout.fits(resolved):
            found = [
                f"{leaf.name} of {leaf.shape} cannot be divided over mesh axes {', '.join(sorted(leaf.own))}: "
                f"change the mesh, or for the vocabulary model.vocab_multiple={self.config.model.vocab_multiple}"
                for leaf in self.needs.layout.params
                if not leaf.fits(resolved)
            ]
        return found

    def with_mesh(self, sizes: dict[str, int]):
        """The config with another mesh; the same object each time."""
        for axis, size in sizes.items():
            self.config.mesh[axis] = size
        return self.config


def plan(config, machine: str | Machine, *, vocab: int | None = None, reserve: float = RESERVE) -> Plan:
    """Counts a config on a machine.

    Args:
      config: a complete ConfigDict.
      machine: as `machines.parse` reads it.
      vocab: the tokenizer's vocabulary size; None takes what the config says of it.
      reserve: share of each device's memory that is not to be used.

    Raises:
      UserError: for a machine that is not known, or a config that is refused on every mesh.
    """
    if not 0 <= reserve < 1:
        raise UserError(f"reserve={reserve}: give 0 or more, below 1")
    machine = machines.parse(machine) if isinstance(machine, str) else machine
    own = config_lib.to_dict(config)["mesh"]
    planner = Planner(config, machine.platform, vocab, reserve)
    refused = planner.refusal(own, machine)
    mine = None if refused else planner.on(machine, axis_sizes(planner.with_mesh(own).mesh, machine.devices))
    every = [planner.on(machine, sizes) for sizes in planner.accepted(machine)]
    fitting = sorted((each for each in every if each.fits is not False), key=lambda each: each.rank)
    params = planner.needs.layout.params
    return Plan(
        machine=machine,
        vocab=planner.vocab,
        parameters=sum(leaf.size for leaf in params),
        trained=sum(leaf.size for leaf in params if leaf.trained),
        tokens=planner.tokens,
        flops=planner.flops,
        own=mine,
        refused=tuple(refused),
        best=tuple(_valid(planner, machine, fitting)),
        counts={
            "of_devices": sum(1 for _ in planner.meshes(machine)),
            "accepted": len(every),
            "fitting": len(fitting),
        },
        reserve=reserve,
        budget=planner.budget(machine),
        notes=planner.notes,
    )


def _valid(planner: Planner, machine: Machine, fitting: list[MeshPlan]) -> Iterator[MeshPlan]:
    """The first few that `validate` takes, too, which builds the model for each."""
    shown = 0
    for each in fitting:
        if shown == _SHOWN:
            return
        if not planner.refusal(each.mesh, machine):
            shown += 1
            yield each


# Of each kind one that can be read anywhere.
_STAND_INS = {"documents": "web", "pairs": "copy"}


def _without_corpus(config) -> tuple[str, ...]:
    """Puts another one in the place of a corpus that this machine cannot read, and says why it cannot."""
    try:
        corpus = corpora.build(config.data.corpus)
    except UserError:
        return ()  # nobody could
    try:
        corpus.check()
    except UserError as error:
        if corpus.kind in _STAND_INS:
            config.data.corpus = _STAND_INS[corpus.kind]
            return (f"planned without the corpus, which cannot be read here: {error}",)
    return ()


def _copy(config):
    return config_lib.from_dict(config_lib.to_dict(config))


def _on_one(config):
    """The config on one device, which refuses nothing that another mesh would take."""
    one = _copy(config)
    for axis in one.mesh:
        one.mesh[axis] = 1
    return one
