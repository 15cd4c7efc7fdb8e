"""`measure_variants`: what each variant costs beside the plain model, at the same sizes, in one run."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.measure import synthetic_batch
from transformer_jax import config as config_lib
from transformer_jax.combinations import MODEL_SPECS, part_problems
from transformer_jax.errors import UserError
from transformer_jax.model.weighting import weightings
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.train import flops
from transformer_jax.train.evaluation import place
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loop import compiled_program

VOCAB = 512
PLAIN = "plain"


@dataclass(frozen=True)
class Cost:
    """One variant beside the plain model, measured in turns with it.

    Attributes:
      key, spec: what is switched; `without_positions` says that the plain model beside it had none either.
      step_ms: median over the repeats; `ratio`: to the plain step right before it: median, least and greatest.
      memory: bytes of temporaries of the compiled step; `parameters`: how many. Both also relative to plain.
      compile_seconds: of the step.
    """

    key: str
    spec: str
    without_positions: bool
    step_ms: float
    ratio: tuple[float, float, float]
    memory: int
    memory_ratio: float
    parameters: int
    parameters_ratio: float
    compile_seconds: float


class _Step:
    """A compiled train step with its state."""

    def __init__(self, config: ConfigDict):
        program = compiled_program(config, VOCAB, make_mesh(config.mesh))
        batch = synthetic_batch(config, VOCAB, config.data.batch_size, np.random.default_rng(0))
        self._batches = place(program, jax.tree.map(lambda x: x[None], batch), leading=1)
        self._hyper = program.place([Hyper.from_config(config, program.arch)])
        start = time.perf_counter()
        self._run = program.lower_train(program.state_structs, self._batches, self._hyper).compile()
        self.compile_seconds = time.perf_counter() - start
        self.memory = self._run.memory_analysis().temp_size_in_bytes
        self.parameters = flops.count(program.param_shapes)
        self._state = program.init(self._hyper)
        self.seconds()  # warms up

    def seconds(self) -> float:
        """Of one update."""
        start = time.perf_counter()
        self._state, metrics = self._run(self._state, self._batches, self._hyper)
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - start


def measure_variants(
    only: str | None, *, repeats: int, width: int, layers: int, length: int, rows: int, tell: Callable[[Cost], None]
) -> list[Cost]:
    """Every registered variant that stands alone, decoder-only (cross-attentions: encoder-decoder).

    Args:
      only: a key of the model section, such as 'mixer'; None for all.
      tell: gets each cost as it is found.

    Raises:
      UserError: for sizes that no model can have.
    """
    sizes = dict(width=width, layers=layers)
    plain: dict[tuple, _Step] = {}
    found = []
    refused = part_problems(_config(sizes, length, rows))
    if refused:
        raise UserError("; ".join(refused))
    for key, spec, changes in _changes(only):
        config = _config(sizes | changes, length, rows)
        if part_problems(config):
            continue
        position = changes.get("position") if key != "position" else None
        base_changes = {name: value for name, value in changes.items() if name == "family"}
        base_changes |= {} if position is None else {"position": position}
        base_key = tuple(sorted(base_changes.items()))
        if base_key not in plain:
            plain[base_key] = _Step(_config(sizes | base_changes, length, rows))
        found.append(_beside(plain[base_key], _Step(config), key, spec, repeats, position is not None))
        tell(found[-1])
        jax.clear_caches()
    return found


def _beside(plain: _Step, step: _Step, key: str, spec: str, repeats: int, without_positions: bool) -> Cost:
    times, ratios = [], []
    for _ in range(repeats):
        before = plain.seconds()
        times.append(step.seconds())
        ratios.append(times[-1] / before)
    return Cost(
        key,
        spec,
        without_positions,
        1e3 * statistics.median(times),
        (statistics.median(ratios), min(ratios), max(ratios)),
        step.memory,
        step.memory / plain.memory,
        step.parameters,
        step.parameters / plain.parameters,
        step.compile_seconds,
    )


def _config(model: dict, length: int, rows: int) -> ConfigDict:
    config = config_lib.base()
    for name, value in model.items():
        config.model[name] = value
    config.data.length, config.data.batch_size = length, rows
    return config


def _changes(only: str | None) -> Iterator[tuple[str, str, dict]]:
    """(key, spec, changed keys of the model section)."""
    for key, registry in MODEL_SPECS.items():
        if key in ("family", "encoder_mixer") or only not in (None, key):
            continue
        for name in registry.names():
            yield key, name, {key: name, **_around(key, name)}
        if key == "mixer":
            for name in weightings.names():
                spec = f"mha(weights={name!r})"
                yield key, spec, {key: spec}


def _around(key: str, name: str) -> dict:
    if key == "cross_mixer":
        return {"family": "encoder_decoder"}
    reads = MODEL_SPECS["mixer"].lookup(name).reads if key == "mixer" else {"query", "key"}
    return {} if {"query", "key"} <= reads else {"position": "none"}


def table(costs: list[Cost], header: str) -> str:
    """VARIANTS.md."""
    lines = [
        "# What each variant costs",
        "",
        header,
        "",
        "Each step was timed in turns with that of the plain model (rope, pre, layernorm, mha, gelu); the ratio is the",
        "median of the pairs, least and greatest in brackets. Temporary memory is that of the compiled step.",
        "A * marks mixers that read no positions: the plain model beside them had none either.",
    ]
    for key in dict.fromkeys(cost.key for cost in costs):
        lines += ["", f"## model.{key}", "", "| variant | step | step, relative | memory | parameters | compile |"]
        lines.append("|---|---:|---:|---:|---:|---:|")
        for cost in costs:
            if cost.key == key:
                middle, least, greatest = cost.ratio
                lines.append(
                    f"| `{cost.spec}`{' *' if cost.without_positions else ''} | {cost.step_ms:.1f} ms "
                    f"| {middle:.2f} ({least:.2f} to {greatest:.2f}) | {cost.memory_ratio:.2f} "
                    f"| {cost.parameters_ratio:.3f} | {cost.compile_seconds:.1f} s |"
                )
    return "\n".join(lines) + "\n"
