"""`Program`: the train step compiled once for a mesh, and shared by all runs whose static part is equal."""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer_jax import compilation
from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.objective import Loss
from transformer_jax.parallel import distributed, rules
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.spikes.base import begin
from transformer_jax.train.step import Recipe, Step, StepMetrics, TrainState

# Where only the structure of the optimiser matters, not its numbers.
_ANY = Hyper(None, *[0.0] * 5)


class Program:
    """The compiled functions of one (architecture, recipe, mesh, members). Made by `program()`, never directly.

    With `members`, R runs train as one: every array of state, batches, hyperparameters and metrics has a leading
    axis R, which lies on the mesh axis `replica`, and no run reads what is another's.
    """

    def __init__(self, arch: Arch, recipe: Recipe, mesh: Mesh, members: int | None = None):
        self.arch, self.recipe, self.mesh, self.members = arch, recipe, mesh, members
        self.step = Step(arch, recipe)
        self.compile_seconds = 0.0
        self.memory_bytes: int | None = None  # of the largest compiled train step, per device
        self._compiled: dict = {}

    @property
    def model(self):
        """The linen module of one run."""
        return self.step.model

    @property
    def boxed_params(self):
        """The parameters of one run as ShapeDtypeStructs with logical axis names."""
        return self.step.boxed_params

    @cached_property
    def param_shapes(self):
        """The parameters of one run as ShapeDtypeStructs."""
        return rules.unbox(self.boxed_params)

    @cached_property
    def schedule(self):
        """Updates that were applied -> the factor of the learning rate; one compiled function."""
        return jax.jit(self.recipe.optim.schedule)

    @cached_property
    def state_shardings(self) -> TrainState:
        """Where the state of one run lies; optimiser moments lie beside their parameters."""
        params = rules.shardings(self.boxed_params, self.mesh)
        optimizer = self.step.optimizer(_ANY)
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        opt_state = optax.tree.map_params(
            optimizer,
            lambda _, sharding: sharding,
            jax.eval_shape(optimizer.init, self.step.trained(self.param_shapes)),
            self.step.trained(params),
            transform_non_params=lambda _: everywhere,
        )
        ema = params if self.recipe.ema else None
        state = TrainState(everywhere, everywhere, params, opt_state, ema)
        return self.recipe.judged(state, lambda: jax.tree.map(lambda _: everywhere, jax.eval_shape(begin)))

    @cached_property
    def state_structs(self) -> TrainState:
        """The state of one run as ShapeDtypeStructs with shardings, for restoring into."""
        shapes = jax.eval_shape(self.step.init, Hyper(jax.random.key(0), *[1.0] * 5))
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, self.state_shardings
        )

    @property
    def all_structs(self) -> TrainState:
        """The state of all members as ShapeDtypeStructs with shardings."""
        lead = () if self.members is None else (self.members,)
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=s),
            self.state_structs,
            self._all_shardings,
        )

    def member_states(self, state: TrainState) -> Callable[[int], TrainState]:
        """slot -> the state of the run in it, as it lies when that trains alone.

        It goes through the host: on the devices it would take communication between replicas, of which there is none.
        """
        if self.members is None:
            return lambda slot: state
        rows = jax.device_get(state)
        return lambda slot: jax.device_put(jax.tree.map(lambda x: x[slot], rows), self.state_shardings)

    def aside(self, state: TrainState) -> TrainState:
        """The state of one run, off the devices if it is to be put beside others."""
        return state if self.members is None else jax.device_get(state)

    def with_members(self, state: TrainState, members: dict[int, TrainState]) -> TrainState:
        """`state`, which is deleted, with the runs of some slots replaced."""
        if self.members is None:
            return members[0]
        rows = jax.tree.map(np.array, jax.device_get(state))
        jax.tree.map(lambda x: x.delete(), state)  # or there would be two on the devices
        for slot, own in members.items():
            jax.tree.map(lambda all_R, one, slot=slot: all_R.__setitem__(slot, one), rows, own)
        return jax.device_put(rows, self._all_shardings)

    def of_member(self, tree, slot: int):
        """One slot's part of what the train step has counted."""
        return tree if self.members is None else jax.tree.map(lambda x: x[slot], tree)

    def batch_sharding(self, leading: int = 0, *, per_member: bool = False) -> NamedSharding:
        """Of a [B, L] array with `leading` unsharded axes before it, and that of the members before these."""
        members = ("replica",) if per_member else ()
        return NamedSharding(self.mesh, PartitionSpec(*members, *(None,) * leading, *rules.BATCH))

    def place(self, hypers: Sequence[Hyper]) -> Hyper:
        """Hyperparameters of the runs where the train step takes them. Slots without a run get those of the first."""
        if self.members is None:
            everywhere = NamedSharding(self.mesh, PartitionSpec())
            if everywhere.is_fully_addressable:
                return jax.device_put(hypers[0], everywhere)
            return jax.jit(lambda hyper: hyper, out_shardings=everywhere)(hypers[0])  # keys cannot be put elsewhere
        padded = [*hypers, *[hypers[0]] * (self.members - len(hypers))]
        rows = jax.tree.map(lambda *xs: jnp.stack(xs), *padded)
        return jax.device_put(rows, NamedSharding(self.mesh, PartitionSpec("replica")))

    def init(self, hyper: Hyper) -> TrainState:
        """A fresh state, made where it will lie."""
        with self._context():
            return self._init(hyper)

    def train(self, state: TrainState, batches_TBL: Batch, hyper: Hyper) -> tuple[TrainState, StepMetrics]:
        """T updates in one dispatch. The state is donated.

        Args:
          batches_TBL: a Batch whose arrays have a leading axis of T updates, placed by `evaluation.place`.
          hyper: placed by `place`. It is data: other numbers, same program.

        Returns:
          the new state, and StepMetrics with a leading axis T.
        """
        return self.compiled_train(state, batches_TBL, hyper)(state, batches_TBL, hyper)

    def compiled_train(self, state, batches_TBL, hyper):
        """The compiled train step for arguments, or structs, of these shapes; compiled once."""
        key = tuple(x.shape for x in jax.tree.leaves(batches_TBL)), jax.tree.structure((batches_TBL, hyper))
        if key not in self._compiled:
            lowered = self.lower_train(state, batches_TBL, hyper)
            started = time.monotonic()
            with compilation.counted() as found:
                self._compiled[key] = compiled = lowered.compile()
            self.compile_seconds += (seconds := time.monotonic() - started)
            if found.loaded:
                distributed.say(f"train step: taken from the programs compiled before, in {seconds:.1f} s")
            self.memory_bytes = max(self.memory_bytes or 0, compiled_bytes(compiled)) or None
        return self._compiled[key]

    def evaluate(self, params, batch: Batch, heads=None) -> Loss:
        """The loss sums of one batch, without dropout or smoothing, and how many examples are exactly right.

        All members read the same batch.
        """
        with self._context():
            return self._evaluate(params, heads, batch)

    def lower_train(self, state, batches_TBL, hyper):
        """The train step lowered for arguments, or structs, of these shapes."""
        with self._context():
            return self._train.lower(state, batches_TBL, hyper)

    def lower_evaluate(self, params, batch, heads=None):
        """The evaluation lowered for arguments, or structs, of these shapes."""
        with self._context():
            return self._evaluate.lower(params, heads, batch)

    @contextmanager
    def _context(self):
        with jax.set_mesh(self.mesh), nn.logical_axis_rules(rules.table()):
            yield

    @cached_property
    def _all_shardings(self) -> TrainState:
        """Where the state of all members lies."""
        if self.members is None:
            return self.state_shardings
        return jax.tree.map(lambda s: NamedSharding(self.mesh, PartitionSpec("replica", *s.spec)), self.state_shardings)

    @property
    def _counted(self) -> NamedSharding:
        """Where what is counted lies: with its run; that of one run everywhere, so that every process can read it."""
        return NamedSharding(self.mesh, PartitionSpec() if self.members is None else PartitionSpec("replica"))

    def _over_members(self, function, in_axes=0):
        """`function` of one run as one of all members; the partitioner is told that they lie on `replica`."""
        if self.members is None:
            return function
        return jax.vmap(function, in_axes=in_axes, spmd_axis_name="replica")

    @cached_property
    def _init(self):
        return jax.jit(self._over_members(self.step.init), out_shardings=self._all_shardings)

    @cached_property
    def _train(self):
        def steps(state, batches_TBL, hyper):
            return jax.lax.scan(lambda s, b: self.step.update(s, b, hyper), state, batches_TBL)

        return jax.jit(self._over_members(steps), donate_argnums=0, out_shardings=(self._all_shardings, self._counted))

    @cached_property
    def _evaluate(self):
        return jax.jit(self._over_members(self.step.evaluate, in_axes=(0, 0, None)), out_shardings=self._counted)


@lru_cache(maxsize=4)
def program(arch: Arch, recipe: Recipe, mesh: Mesh, members: int | None = None) -> Program:
    """The program of a static part; asked for again, it comes back compiled.

    Few are kept: each holds memory maps of which a process may have only so many.
    """
    return Program(arch, recipe, mesh, members)


def compiled_bytes(compiled) -> int:
    """What a compiled program needs on each device while it runs; 0 where the backend does not say."""
    told = compiled.memory_analysis()
    if told is None:
        return 0
    sizes = told.argument_size_in_bytes + told.output_size_in_bytes + told.temp_size_in_bytes
    return sizes - told.alias_size_in_bytes
