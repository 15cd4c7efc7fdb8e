"""The pure train step, compiled once per program and shared by all runs whose static part is equal."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer_jax.batch import Batch
from transformer_jax.model.arch import Arch
from transformer_jax.model.base import constrain
from transformer_jax.model.transformer import families
from transformer_jax.objective import Loss, cross_entropy, exact_matches
from transformer_jax.parallel import rules
from transformer_jax.shapes import Array
from transformer_jax.train.optim import Optim


@dataclass(frozen=True)
class Recipe:
    """Everything static about training, beside the architecture."""

    optim: Optim
    accumulate: int
    ema: float
    z_loss: float
    label_smoothing: float

    @classmethod
    def from_config(cls, config) -> "Recipe":
        o = config.objective
        return cls(Optim.from_config(config), config.optim.accumulate, config.optim.ema, o.z_loss, o.label_smoothing)


@struct.dataclass
class TrainState:
    """`step` counts updates tried, `skipped` those that were not applied; `ema` is None if it is off."""

    step: Array
    skipped: Array
    params: dict
    opt_state: optax.OptState
    ema: dict | None


@struct.dataclass
class StepMetrics:
    """Of one update, as scalars on the devices. `reported` is what variants report by name, a mean over layers."""

    loss: Loss
    grad_norm: Array
    applied: Array
    reported: dict[str, Array]


class Program:
    """The compiled functions of one (architecture, recipe, mesh). Made by `program()`, never directly."""

    def __init__(self, arch: Arch, recipe: Recipe, mesh: Mesh):
        self.arch, self.recipe, self.mesh = arch, recipe, mesh
        self.model = families.build(arch.family, arch=arch)

    @cached_property
    def boxed_params(self):
        """The parameters as ShapeDtypeStructs with logical axis names."""
        return boxed_params(self.arch)

    @cached_property
    def optimizer(self) -> optax.GradientTransformation:
        return self.recipe.optim.transformation(self.boxed_params)

    @cached_property
    def param_shapes(self):
        """The parameters as ShapeDtypeStructs."""
        return rules.unbox(self.boxed_params)

    @cached_property
    def state_shardings(self) -> TrainState:
        """Where the state lies; optimiser moments lie beside their parameters."""
        params = rules.shardings(self.boxed_params, self.mesh)
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        opt_state = optax.tree.map_params(
            self.optimizer,
            lambda _, sharding: sharding,
            jax.eval_shape(self.optimizer.init, self.param_shapes),
            params,
            transform_non_params=lambda _: everywhere,
        )
        return TrainState(everywhere, everywhere, params, opt_state, params if self.recipe.ema else None)

    @property
    def state_structs(self) -> TrainState:
        """The state as ShapeDtypeStructs with shardings, for restoring into."""
        shapes = jax.eval_shape(self._init, jax.random.key(0))
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, self.state_shardings
        )

    def batch_sharding(self, leading: int = 0) -> NamedSharding:
        """Of a [B, L] array with `leading` unsharded axes before it."""
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * leading, *rules.BATCH))

    def init(self, key) -> TrainState:
        """A fresh state, made where it will lie."""
        with self._context():
            return jax.jit(self._init, out_shardings=self.state_shardings)(key)

    def train(self, state: TrainState, batches_TBL: Batch, key, heads=None) -> tuple[TrainState, StepMetrics]:
        """T updates in one dispatch. The state is donated.

        Args:
          batches_TBL: a Batch whose arrays have a leading axis of T updates.
          key: of the run; each update folds its own number in.
          heads: a mask (`model.heads`), which is data: other masks, same program.

        Returns:
          the new state, and StepMetrics with a leading axis T.
        """
        with self._context():
            return self._train(state, batches_TBL, key, heads)

    def evaluate(self, params, batch: Batch, heads=None) -> Loss:
        """The loss sums of one batch, without dropout or smoothing, and how many examples are exactly right."""
        with self._context():
            return self._evaluate(params, heads, batch)

    def lower_train(self, state_structs, batch_structs, key):
        """The train step lowered for given shapes, for those who read the compiled program."""
        with self._context():
            return self._train.lower(state_structs, batch_structs, key)

    @contextmanager
    def _context(self):
        with jax.set_mesh(self.mesh), nn.logical_axis_rules(rules.table()):
            yield

    def _init(self, key) -> TrainState:
        params = rules.unbox(self.model.init(key, dummy_batch(self.arch))["params"])
        zero = jnp.zeros((), jnp.int32)
        # A copy, because the state is donated and no buffer may be given away twice.
        ema = jax.tree.map(jnp.copy, params) if self.recipe.ema else None
        return TrainState(zero, zero, params, self.optimizer.init(params), ema)

    @cached_property
    def _train(self):
        def steps(state, batches_TBL, key, heads=None):
            return jax.lax.scan(lambda s, b: self.update(s, b, key, heads), state, batches_TBL)

        return jax.jit(steps, donate_argnums=0, out_shardings=(self.state_shardings, None))

    @cached_property
    def _evaluate(self):
        def loss(params, heads, batch) -> Loss:
            logits_BLV = self.model.apply({"params": params}, batch, heads=heads)
            exact, examples = exact_matches(logits_BLV, batch)
            return cross_entropy(logits_BLV, batch).replace(exact=exact, examples=examples)

        def accumulated(params, heads, batch) -> Loss:
            # In the micro-batches of training: the logits of a whole batch may not fit.
            micro = jax.tree.map(partial(_split, parts=self.recipe.accumulate), batch)
            parts = jax.lax.map(partial(loss, params, heads), micro)
            return jax.tree.map(jnp.sum, parts)

        return jax.jit(loss if self.recipe.accumulate == 1 else accumulated)

    def update(self, state: TrainState, batch: Batch, key, heads=None) -> tuple[TrainState, StepMetrics]:
        """One update, pure. A non-finite loss, gradient or result leaves everything but the counters as it was."""
        loss, reported, grads = self.gradients(state.params, batch, jax.random.fold_in(key, state.step), heads)
        grad_norm = optax.tree.norm(grads)
        applied = jnp.isfinite(loss.total) & jnp.isfinite(grad_norm)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        applied &= jnp.isfinite(optax.tree.norm(params))
        ema = state.ema
        if ema is not None:
            # Warmed up, or the starting values would weigh 0.999^t for thousands of updates.
            count = state.step - state.skipped
            decay = jnp.minimum(self.recipe.ema, (1.0 + count) / (10.0 + count))
            ema = optax.incremental_update(params, ema, 1.0 - decay)
        keep = partial(jax.tree.map, lambda new, old: jnp.where(applied, new, old))
        new = TrainState(
            step=state.step + 1,
            skipped=state.skipped + ~applied,
            params=keep(params, state.params),
            opt_state=keep(opt_state, state.opt_state),
            ema=None if ema is None else keep(ema, state.ema),
        )
        return new, StepMetrics(loss, grad_norm, applied, reported)

    def gradients(self, params, batch: Batch, key, heads=None) -> tuple[Loss, dict[str, Array], dict]:
        """Loss sums, what variants report, and the gradient of the mean loss per target, over all micro-batches.

        The mean is over the targets of the whole batch, so that accumulation changes nothing but rounding. A loss
        that a variant reports (a router's) is a mean over the tokens of its micro-batch: it weighs as many times
        as that has targets.
        """

        def total(params, batch, key):
            logits_BLV, aside = self.model.apply(
                {"params": params},
                batch,
                train=True,
                dropout=self.arch.dropout or None,
                heads=heads,
                rngs={"dropout": key},
                mutable=["losses", "metrics"],
            )
            loss = cross_entropy(
                logits_BLV, batch, label_smoothing=self.recipe.label_smoothing, z_loss=self.recipe.z_loss
            )
            extra = sum((jnp.sum(x) for x in jax.tree.leaves(aside.get("losses", {}))), jnp.float32(0))
            loss = loss.replace(total=loss.total + extra * loss.tokens)
            return loss.total, (loss, mean_by_name(aside.get("metrics", {})))

        grad = jax.grad(total, has_aux=True)
        parts = self.recipe.accumulate
        if parts == 1:
            grads, (loss, reported) = grad(params, batch, key)
        else:

            def add(carry, part):
                new = grad(params, part[0], jax.random.fold_in(key, part[1]))
                return jax.tree.map(jnp.add, carry, new), None

            micro = jax.tree.map(partial(_split, parts=parts), batch)
            zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(grad, params, _first(micro), key))
            (grads, (loss, reported)), _ = jax.lax.scan(add, zeros, (micro, jnp.arange(parts)))
            reported = jax.tree.map(lambda x: x / parts, reported)
        count = jnp.maximum(loss.tokens, 1.0)
        return loss, reported, jax.tree.map(lambda g: g / count, grads)


def mean_by_name(tree) -> dict[str, Array]:
    """What modules reported under one name, averaged over layers and modules: `{'ffn/router_entropy': …}`."""
    found: dict[str, list] = {}
    for path, value in jax.tree_util.tree_leaves_with_path(tree):
        name = "/".join(part.key for part in path[-2:])
        found.setdefault(name, []).append(jnp.mean(value))
    return {name: jnp.mean(jnp.stack(values)) for name, values in sorted(found.items())}


@lru_cache(maxsize=4)
def program(arch: Arch, recipe: Recipe, mesh: Mesh) -> Program:
    """The program of a static part; asked for again, it comes back compiled.

    Few are kept: each holds memory maps of which a process may have only so many.
    """
    return Program(arch, recipe, mesh)


def boxed_params(arch: Arch):
    """The parameters of an architecture as ShapeDtypeStructs with logical axis names."""
    model = families.build(arch.family, arch=arch)
    return jax.eval_shape(model.init, jax.random.key(0), dummy_batch(arch))["params"]


def dummy_batch(arch: Arch, length: int = 2) -> Batch:
    """The smallest batch that initialises a family; parameters do not depend on it."""
    ones_BL = jnp.ones((1, length), jnp.int32)
    batch = Batch(ones_BL, ones_BL, jnp.ones((1, length)), 0 * ones_BL, ones_BL, ones_BL)
    return batch.replace(source_BM=ones_BL, source_positions_BM=0 * ones_BL, source_segments_BM=ones_BL)


def _split(x, parts: int):
    """[B, …] -> [parts, B / parts, …], each device keeping its own rows."""
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    return constrain(x, None, "act_batch", "act_length")


def _first(tree):
    return jax.tree.map(lambda x: x[0], tree)
