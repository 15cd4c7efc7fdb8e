"""A train step around a peer's Flax model; JAX is imported here only."""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from benchmarks.task import Task

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
PACKAGES = ("jax", "jaxlib", "flax", "optax")


def device_peak() -> int | None:
    """Bytes that the allocator has held at most, if it counts."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


class Trainer:
    """`contest`'s entry of a Flax model: one jitted, donated update per call, AdamW from optax.

    Args:
      init: key -> parameters.
      logits: (parameters, batch) -> logits [B, L, V]; a batch is one of `Task.batches`.
    """

    def __init__(self, task: Task, init: Callable, logits: Callable):
        optimizer = _optimizer(task)

        def start(key):
            params = init(key)
            return params, optimizer.init(params)

        def loss(params, batch):
            losses_BL = optax.softmax_cross_entropy_with_integer_labels(
                logits(params, batch).astype(jnp.float32), batch["targets"]
            )
            return losses_BL.mean()

        @partial(jax.jit, donate_argnums=0)
        def update(state, batch):
            params, moments = state
            value, grads = jax.value_and_grad(loss)(params, batch)
            updates, moments = optimizer.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        self._state = jax.jit(start)(jax.random.key(task.seed))
        self._batches = jax.device_put(task.batches())
        self.parameters = sum(x.size for x in jax.tree.leaves(self._state[0]))
        started = time.perf_counter()
        lowered = update.lower(self._state, self._batches[0])
        traced = time.perf_counter()
        self._update = lowered.compile()
        self.compiling = {"trace": traced - started, "compile": time.perf_counter() - traced}

    def run(self):
        losses = []
        for batch in self._batches:
            self._state, loss = self._update(self._state, batch)
            losses.append(loss)
        return jax.block_until_ready((losses, self._state))[0]

    def outcome(self, losses) -> dict:
        return {"loss": float(sum(losses)) / len(losses)}

    def device_peak(self) -> int | None:
        return device_peak()


def _optimizer(task: Task):
    o = task.optim
    adamw = optax.adamw(
        o["learning_rate"],
        b1=o["b1"],
        b2=o["b2"],
        eps=o["eps"],
        weight_decay=o["weight_decay"],
        mask=lambda params: jax.tree.map(lambda x: x.ndim >= 2, params),
    )
    return optax.chain(optax.clip_by_global_norm(o["clip"]), adamw) if o["clip"] else adamw


class Decoder:
    """`contest`'s entry of a jitted decoder.

    Args:
      write: prompts [B, P] -> the new tokens [B, T]; dispatches all of it.
    """

    compiling: dict[str, float] = {}  # noqa: RUF012, the first run tells it

    def __init__(self, task: Task, params, write: Callable):
        self._task, self._write, self._prompts = task, write, jnp.asarray(task.prompts())
        self.parameters = sum(x.size for x in jax.tree.leaves(params))

    def run(self):
        return jax.device_get(self._write(self._prompts))

    def outcome(self, tokens_BT) -> dict:
        return self._task.written(tokens_BT)

    def device_peak(self) -> int | None:
        return device_peak()
