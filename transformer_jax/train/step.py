"""The pure train step of one run."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import optax
from flax import struct

from transformer_jax.batch import Batch
from transformer_jax.errors import UserError
from transformer_jax.model.adapter import adapters, of_adapter
from transformer_jax.model.arch import Arch
from transformer_jax.model.base import LAYERS, constrain
from transformer_jax.model.family import families
from transformer_jax.objective import Loss, exact_matches
from transformer_jax.parallel import rules
from transformer_jax.shapes import Array
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loss import BatchLoss, mean_by_name
from transformer_jax.train.optim import Optim, overlay, parameter_name, pick, trained_mask
from transformer_jax.train.spikes import Running, Spikes, spikes
from transformer_jax.train.spikes.base import KEEP, begin


@dataclass(frozen=True)
class Recipe:
    """Everything static about training, beside the architecture. What is a number of its own is in `Hyper`.

    Attributes:
      trains: which parameters are trained, as `optim.trained_mask` reads it.
      spikes: what is done about a sudden rise of the loss.
    """

    optim: Optim
    accumulate: int
    ema: float
    trains: str = "*"
    spikes: Spikes = KEEP

    @classmethod
    def from_config(cls, config) -> "Recipe":
        o = config.optim
        return cls(Optim.from_config(config), o.accumulate, o.ema, o.trains, spikes.build(config.train.spikes))

    def judged(self, state: "TrainState", begin) -> "TrainState":
        """`state`, with what `begin()` gives if the step decides what a spike is."""
        if not self.spikes.in_step:
            return state
        return JudgedState(state.step, state.skipped, state.params, state.opt_state, state.ema, begin())


@struct.dataclass
class TrainState:
    """`step` counts updates tried, `skipped` those that were not finite and not applied; `ema` is None if it is off."""

    step: Array
    skipped: Array
    params: dict
    opt_state: optax.OptState
    ema: dict | None

    spikes = None  # no field, of which checkpoints would have to know


@struct.dataclass
class JudgedState(TrainState):
    """Where the step decides what a spike is."""

    spikes: Running


@struct.dataclass
class StepMetrics:
    """Of one update, as scalars on the devices. `reported` is what variants report by name, a mean over layers."""

    loss: Loss
    grad_norm: Array
    applied: Array
    reported: dict[str, Array]


class Step:
    """What is computed for one run, pure; `Program` compiles it for a mesh and for several runs at once."""

    def __init__(self, arch: Arch, recipe: Recipe):
        self.arch, self.recipe = arch, recipe
        self.objective = BatchLoss(arch)
        self.model = self.objective.model

    @cached_property
    def boxed_params(self):
        """The parameters as ShapeDtypeStructs with logical axis names."""
        return boxed_params(self.arch)

    @cached_property
    def trained_mask(self):
        """True for the parameters that are trained."""
        return trained_mask(self.boxed_params, self.recipe.trains)

    def trained(self, params: dict) -> dict:
        """Those of the parameters that are trained: of them alone are gradients and moments made."""
        return pick(params, self.trained_mask)

    def optimizer(self, hyper: Hyper) -> optax.GradientTransformation:
        """Of the trained parameters. Its state does not depend on `hyper`."""
        return self.recipe.optim.transformation(self.trained(self.boxed_params), hyper)

    def init(self, hyper: Hyper) -> TrainState:
        """A fresh state. Only the key and the scale of `hyper` are read."""
        params = rules.unbox(self.model.init(jax.random.fold_in(hyper.key, 0), dummy_batch(self.arch))["params"])
        params = jax.tree.map(
            lambda x, inside: x * hyper.init_scale if inside else x, params, in_stacks(self.boxed_params)
        )
        zero = jnp.zeros((), jnp.int32)
        # A copy, because the state is donated and no buffer may be given away twice.
        ema = jax.tree.map(jnp.copy, params) if self.recipe.ema else None
        opt_state = self.optimizer(hyper).init(self.trained(params))
        return self.recipe.judged(TrainState(zero, zero, params, opt_state, ema), begin)

    def update(self, state: TrainState, batch: Batch, hyper: Hyper) -> tuple[TrainState, StepMetrics]:
        """One update of one run, pure.

        A non-finite loss, gradient or result leaves everything but the counters as it was, and so does a spike that is
        to be skipped. Parameters that are not trained are handed through.
        """
        key = jax.random.fold_in(jax.random.fold_in(hyper.key, 1), state.step)
        before = self.trained(state.params)
        loss, reported, grads = self.gradients(state.params, batch, key, hyper)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss.total) & jnp.isfinite(grad_norm)
        spike, running = self._spike(state.spikes, loss, grad_norm, finite)
        updates, opt_state = self.optimizer(hyper).update(grads, state.opt_state, before)
        trained = optax.apply_updates(before, updates)
        finite &= jnp.isfinite(optax.tree.norm(trained))
        applied = finite & ~spike
        keep = partial(jax.tree.map, lambda new, old: jnp.where(applied, new, old))
        ema = state.ema
        if ema is not None:
            # Warmed up, or the starting values would weigh 0.999^t for thousands of updates.
            count = state.step - left_out(state)
            decay = jnp.minimum(self.recipe.ema, (1.0 + count) / (10.0 + count))
            average = self.trained(ema)
            ema = overlay(ema, keep(optax.incremental_update(trained, average, 1.0 - decay), average))
        new = state.replace(
            step=state.step + 1,
            skipped=state.skipped + ~(finite | spike),
            params=overlay(state.params, keep(trained, before)),
            opt_state=keep(opt_state, state.opt_state),
            ema=ema,
        )
        if running is not None:
            new = new.replace(spikes=keep(running, state.spikes).replace(skipped=running.skipped))
        return new, StepMetrics(loss, grad_norm, applied, reported)

    def _spike(self, running: Running | None, loss: Loss, grad_norm: Array, finite: Array) -> tuple:
        """(whether the update is left out as a spike, the running average if it is applied)."""
        if running is None:
            return jnp.zeros((), bool), None
        judge = self.recipe.spikes
        value = judge.measured(loss.nats, loss.tokens, grad_norm)
        spike = finite & judge.judge(value, running)
        return spike, judge.accept(value, running).replace(skipped=running.skipped + spike)

    def gradients(self, params, batch: Batch, key, hyper: Hyper) -> tuple[Loss, dict[str, Array], dict]:
        """Loss sums, what variants report, and the gradient of the mean loss per target, over all micro-batches.

        The gradient is that of the trained parameters; the others are constants, through which it runs.

        The mean is over the targets of the whole batch, so that accumulation changes nothing but rounding. A loss
        that a variant reports (a router's) is a mean over the tokens of its micro-batch: it weighs as many times
        as that has targets.
        """

        def total(trained, batch, key):
            loss, reported = self.loss(overlay(params, trained), batch, key, hyper)
            return loss.total, (loss, reported)

        grad = jax.grad(total, has_aux=True)
        trained, parts = self.trained(params), self.recipe.accumulate
        if parts == 1:
            grads, (loss, reported) = grad(trained, batch, key)
        else:

            def add(carry, part):
                new = grad(trained, part[0], jax.random.fold_in(key, part[1]))
                return jax.tree.map(jnp.add, carry, new), None

            micro = jax.tree.map(partial(_split, parts=parts), batch)
            zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(grad, trained, _first(micro), key))
            (grads, (loss, reported)), _ = jax.lax.scan(add, zeros, (micro, jnp.arange(parts)))
            reported = jax.tree.map(lambda x: x / parts, reported)
        count = jnp.maximum(loss.tokens, 1.0)
        return loss, reported, jax.tree.map(lambda g: g / count, grads)

    def loss(self, params, batch: Batch, key, hyper: Hyper) -> tuple[Loss, dict[str, Array]]:
        """The loss sums of a micro-batch in training, and what variants report by name."""
        loss, _, aside = self.objective(
            params,
            batch,
            label_smoothing=hyper.label_smoothing,
            z_loss=hyper.z_loss,
            train=True,
            dropout=hyper.dropout,
            heads=hyper.heads,
            rngs={"dropout": key},
            mutable=["losses", "metrics"],
        )
        extra = sum((jnp.sum(x) for x in jax.tree.leaves(aside.get("losses", {}))), jnp.float32(0))
        return loss.replace(total=loss.total + extra * loss.tokens), mean_by_name(aside.get("metrics", {}))

    def evaluate(self, params, heads, batch: Batch) -> Loss:
        """The loss sums of one batch, without dropout or smoothing, and how many examples are exactly right."""

        def loss(batch) -> Loss:
            loss, scored, _ = self.objective(params, batch, heads=heads, greedy=True)
            exact, examples = exact_matches(scored.hit_BL, batch)
            return loss.replace(exact=exact, examples=examples)

        if self.recipe.accumulate == 1:
            return loss(batch)
        # In the micro-batches of training: the logits of a whole batch may not fit.
        parts = jax.lax.map(loss, jax.tree.map(partial(_split, parts=self.recipe.accumulate), batch))
        return jax.tree.map(jnp.sum, parts)


def left_out(state: TrainState):
    """How many updates were tried and not applied: the schedule has not moved by them."""
    return state.skipped + spikes_skipped(state)


def spikes_skipped(state: TrainState):
    """How many updates were left out as spikes."""
    return jnp.zeros_like(state.skipped) if state.spikes is None else state.spikes.skipped


def in_stacks(boxed_params):
    """True for the matrices inside of the stacks; False for tables, norms, gates, biases and what adapters add."""

    def inside(path, leaf) -> bool:
        in_stack = path[0].key in ("encoder", "decoder") and not of_adapter(path[-1].key)
        return in_stack and rules.is_matrix(path[-1].key, leaf.names)

    return jax.tree_util.tree_map_with_path(inside, boxed_params, is_leaf=rules.is_boxed)


def finetuning_problems(config) -> list[str]:
    """What `model.adapter` and `optim.trains` have against the parameters there are. Their specs must be readable."""
    if config.model.adapter == "none" and not config.optim.trains:
        return []
    arch = Arch.from_config(config, vocab=config.model.vocab_multiple, platform="cpu")
    plain = boxed_params(replace(arch, parts=replace(arch.parts, adapter="none")))
    leaves = jax.tree_util.tree_leaves_with_path(plain, is_leaf=rules.is_boxed)
    in_blocks = {
        parameter_name(path): (leaf.value.shape[1:], leaf.names[1:])
        for path, leaf in leaves
        if LAYERS in [part.key for part in path]
    }
    found = adapters.build(arch.parts.adapter).problems(in_blocks)
    if found:
        return [f"model.adapter={config.model.adapter!r}: {line}" for line in found]
    try:
        trained_mask(boxed_params(arch), config.optim.trains)
    except UserError as error:
        found.append(str(error))
    return found


def boxed_params(arch: Arch):
    """The parameters of an architecture as ShapeDtypeStructs with logical axis names."""
    # They do not depend on the kernel, and cuDNN's asks for a device that need not be here.
    arch = replace(arch, execution=replace(arch.execution, attention="plain"))
    model = families.build(arch.family, arch=arch)
    return jax.eval_shape(model.init, jax.random.key(0), dummy_batch(arch))["params"]


def dummy_batch(arch: Arch, length: int = 2) -> Batch:
    """The smallest batch that initialises a family; parameters do not depend on it."""
    ones_BL = jnp.ones((1, length), jnp.int32)
    batch = Batch(ones_BL, ones_BL, jnp.ones((1, length)), 0 * ones_BL, ones_BL, ones_BL)
    return batch.replace(
        parts_BL=0 * ones_BL, source_BM=ones_BL, source_positions_BM=0 * ones_BL, source_segments_BM=ones_BL
    )


def _split(x, parts: int):
    """[B, …] -> [parts, B / parts, …], each device keeping its own rows."""
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    return constrain(x, None, "act_batch", "act_length")


def _first(tree):
    return jax.tree.map(lambda x: x[0], tree)
