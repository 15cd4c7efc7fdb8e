"""`measure`: the real train step of a config, compiled once and timed."""

import os
import platform
import statistics
import time
from dataclasses import dataclass
from importlib.metadata import version

import jax
import numpy as np
from ml_collections import ConfigDict

from transformer_jax import config as config_lib
from transformer_jax import data as data_lib
from transformer_jax.batch import Batch, real_tokens
from transformer_jax.data.tokenizers.base import SPECIALS
from transformer_jax.errors import UserError
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.train import flops
from transformer_jax.train.evaluation import place
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loop import compiled_program
from transformer_jax.validate import validate

_PACKAGES = ("jax", "jaxlib", "flax", "optax")


@dataclass(frozen=True)
class Options:
    """How a config is measured.

    Attributes:
      repeats: dispatches that are timed, one after the other.
      steps: updates per dispatch, as `train.steps_per_dispatch` is in training.
      vocab: the vocabulary of random tokens; None takes the config's corpus and tokenizer.
    """

    repeats: int
    steps: int
    vocab: int | None = None


def measure(config: ConfigDict, options: Options) -> dict:
    """What an update of `config` costs on this machine, as a JSON-ready record.

    The executable that is compiled ahead of time is the one that is run. One dispatch warms up; the timed
    ones read the same batches, which lie on the devices already: the input pipeline is not in the figures.

    Returns:
      `tokens_per_second` and `step_ms`, each {median, min, max} over the repeats; tokens are those that the
      model reads, padding left out. `mfu` is the share of the devices' bfloat16 peak, None where that is not
      known. `memory` is in bytes per device. The other keys say what was measured, and on what.

    Raises:
      UserError: for a config that cannot be run, or that this machine's memory does not hold.
    """
    validate(config, n_devices=jax.device_count(), platform=jax.default_backend())
    vocab, batch_list = _batches(config, options)
    program = compiled_program(config, vocab, make_mesh(config.mesh))
    tokens = sum(real_tokens(batch) for batch in batch_list) / options.steps
    batches_TBL = place(program, jax.tree.map(lambda *xs: np.stack(xs), *batch_list), leading=1)
    try:
        timed = _timed(program, batches_TBL, config, options.repeats)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"data.batch_size={config.data.batch_size} does not fit in this machine's memory: give less, a larger "
            "optim.accumulate, or model.remat='full'"
        ) from None
    updates = [seconds / options.steps for seconds in timed.pop("seconds")]
    speeds = [tokens / seconds for seconds in updates]
    d = config.data
    per_token = flops.flops_per_token(program.arch, program.boxed_params, d.length, d.source_length)
    return {
        "fingerprint": config_lib.fingerprint(config),
        "synthetic": options.vocab is not None,
        "machine": machine(),
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "model": {
            "family": config.model.family,
            "parameters": flops.count(program.param_shapes),
            "vocabulary": vocab,
            "dtype": config.model.dtype,
            "attention": program.arch.execution.attention,
            "stack": program.arch.execution.stack,
            "flops_per_token": per_token,
        },
        "batch": {
            "rows": config.data.batch_size,
            "positions_per_row": _positions_per_row(config),
            "tokens_per_update": tokens,
            "fill": tokens / (config.data.batch_size * _positions_per_row(config)),
        },
        "repeats": options.repeats,
        "updates_per_dispatch": options.steps,
        "tokens_per_second": _spread(speeds),
        "step_ms": _spread([1e3 * seconds for seconds in updates]),
        "mfu": flops.utilisation(statistics.median(speeds) * per_token),
        **timed,
    }


def machine() -> dict:
    """What was measured on, without its name."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "platform": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "cpu_count": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
    }


def synthetic_batch(config, vocab: int, rows: int, rng: np.random.Generator) -> Batch:
    """Random tokens in the shape of the config's batches: `rows` full rows, each of one segment."""

    def side(length):
        tokens_BL = rng.integers(SPECIALS, vocab, (rows, length + 1), dtype=np.int32)
        positions_BL = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
        return tokens_BL, positions_BL, np.ones((rows, length), np.int32)

    tokens_BL, positions_BL, ones_BL = side(config.data.length)
    weights_BL = ones_BL.astype(np.float32)
    batch = Batch(tokens_BL[:, :-1], tokens_BL[:, 1:], weights_BL, positions_BL, ones_BL, ones_BL)
    if config.model.family != "encoder_decoder":
        return batch
    source_BM, source_positions_BM, source_segments_BM = side(config.data.source_length)
    return batch.replace(
        source_BM=source_BM[:, :-1],
        source_positions_BM=source_positions_BM,
        source_segments_BM=source_segments_BM,
    )


def _batches(config, options: Options) -> tuple[int, list[Batch]]:
    """The vocabulary, and as many global batches as a dispatch takes; every process makes them whole."""
    if options.vocab is not None:
        rng, rows = np.random.default_rng([config.seed, 0]), config.data.batch_size
        return options.vocab, [synthetic_batch(config, options.vocab, rows, rng) for _ in range(options.steps)]
    data = data_lib.load(config.data, config.seed)
    iterator = data.train_iterator()
    try:
        return data.vocab_size, [next(iterator) for _ in range(options.steps)]
    finally:
        iterator.close()


def _timed(program, batches_TBL, config, repeats: int) -> dict:
    hyper = program.place([Hyper.from_config(config, program.arch)])
    start = time.perf_counter()
    compiled = program.lower_train(program.state_structs, batches_TBL, hyper).compile()
    compile_seconds = time.perf_counter() - start

    state, metrics = compiled(program.init(hyper), batches_TBL, hyper)  # warms up
    jax.block_until_ready((state, metrics))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        state, metrics = compiled(state, batches_TBL, hyper)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    loss = jax.device_get(metrics.loss)
    return {
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "memory": _memory(compiled),
        "loss": float(np.sum(loss.nats) / np.sum(loss.tokens)),
        "skipped": int(state.skipped),
    }


def _memory(compiled) -> dict:
    """Bytes per device: what the allocator saw at most (None if it does not count), what the program needs."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    memory = {"device_peak": max(peaks, default=None)}
    plan = compiled.memory_analysis()
    for name in ("argument", "output", "temp", "alias"):
        memory[name] = None if plan is None else getattr(plan, f"{name}_size_in_bytes")
    return memory


def _positions_per_row(config) -> int:
    source = config.data.source_length if config.model.family == "encoder_decoder" else 0
    return config.data.length + source


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
