"""Cost as the work grows: a train step of the same decoder with one mixer or another, from small to large."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from ml_collections import ConfigDict

from benchmarks.growth_worker import Worker
from transformer_jax import config as config_lib

VOCAB = 256
# Name -> what it changes in the model section. All else is equal; there are no positional encodings, since recurrences
# read none.
MODELS = {
    "attention": {"mixer": "mha"},
    "attention, plain": {"mixer": "mha", "attention": "plain"},
    "windowed": {"mixer": "mha(window=128)"},
    "linear": {"mixer": "linear"},
    "retention": {"mixer": "retention"},
    "mamba2": {"mixer": "mamba2"},
    "lstm": {"mixer": "lstm"},
    "gru": {"mixer": "gru"},
}
_MIXERS = ("attention", "windowed", "linear", "retention", "mamba2", "lstm")
_LENGTHS = tuple(2**i for i in range(6, 15))


@dataclass(frozen=True)
class Axis:
    """What grows.

    Attributes:
      key: of the config.
      sizes: how far.
      models: names in MODELS.
      around: what the sizes of BASE are changed to.
    """

    key: str
    sizes: tuple[int, ...]
    models: tuple[str, ...] = _MIXERS
    around: dict = field(default_factory=dict)


BASE = {
    "model.layers": 2,
    "model.width": 128,
    "model.heads": 4,
    "data.length": 256,
    "data.batch_size": 4,
    "model.position": "none",
    "mesh.data": 1,
}
_ONE_ROW = {"data.batch_size": 1}
AXES = {
    "length": Axis("data.length", _LENGTHS, tuple(name for name in MODELS if name != "gru"), _ONE_ROW),
    "layers": Axis("model.layers", (1, 2, 4, 8, 16)),
    "width": Axis("model.width", (64, 128, 256, 512, 1024)),
    "heads": Axis("model.heads", (1, 2, 4, 8, 16)),
    "batch": Axis("data.batch_size", (1, 2, 4, 8, 16)),
    "cores": Axis("data.length", _LENGTHS[:-2], ("attention", "linear", "lstm", "gru"), _ONE_ROW),
    "fsdp": Axis("mesh.fsdp", (1, 2, 4, 8), around={"data.batch_size": 8}),
    "context": Axis("mesh.context", (1, 2, 4, 8), ("attention, plain",), {"data.length": 1024, **_ONE_ROW}),
}
# What one run measures, its points in turns: `--only`.
PARTS = {
    "length": ("length",),
    "sizes": ("layers", "width", "heads", "batch"),
    "cores": ("cores",),
    "devices": ("fsdp", "context"),
}
CORES = (1, 2)


@dataclass(frozen=True)
class Point:
    """What is measured: `axis` at `size`, by a process with `cores` (None: all there are)."""

    axis: str
    model: str
    size: int
    cores: int | None = None

    def config(self) -> ConfigDict:
        axis, config = AXES[self.axis], config_lib.base()
        changes = {f"model.{key}": value for key, value in MODELS[self.model].items()}
        for key, value in (BASE | changes | axis.around | {axis.key: self.size}).items():
            config_lib.override(config, key, value)
        return config


@dataclass
class Found:
    """What was found at a point.

    Attributes:
      known: without running: `parameters`, `flops` of an update, `temporary` and `arguments` in bytes per device,
        `in_a_row` (`growth_path`), `sent` (bytes per device and update, of fake devices).
      seconds: of an update, once a round.
      left_out: why it was not timed.
    """

    point: Point
    known: dict
    seconds: list[float] = field(default_factory=list)
    left_out: str = ""


@dataclass(frozen=True)
class Limits:
    """Of one point: bytes of temporaries, and seconds of an update. What would pass them is not timed."""

    bytes: float
    seconds: float


def points(part: str, largest: int | None = None) -> list[Point]:
    """Of one part, model by model, from small to large.

    Args:
      largest: leaves out what is beyond; None leaves out nothing.
    """
    each = CORES if part == "cores" else (None,)
    return [
        Point(name, model, size, cores)
        for name in PARTS[part]
        for cores in each
        for model in AXES[name].models
        for size in AXES[name].sizes
        if largest is None or size <= largest
    ]


def measure(wanted: Sequence[Point], repeats: int, limits: Limits, tell: Callable[[str], None]) -> list[Found]:
    """Compiles all points, then times them in rounds: each round visits every point, every other one backwards.

    Raises:
      UserError: if a process ended, or cannot be held to some cores.
    """
    found: list[Found] = []
    with ExitStack() as stack:
        workers = {cores: stack.enter_context(Worker(cores)) for cores in dict.fromkeys(p.cores for p in wanted)}
        for point in wanted:
            worker, key = workers[point.cores], _key(point)
            one = Found(point, worker.ask("build", key=key, config=config_lib.to_dict(point.config()), vocab=VOCAB))
            one.left_out = _beyond(one, found, limits)
            if not one.left_out:
                first = worker.ask("warm", key=key)
                one.seconds = [first]  # of which the next size's is guessed; taken away below
                if first > limits.seconds:
                    one.left_out = f"{first:.0f} s an update"
            if one.left_out:
                worker.ask("drop", key=key)
            found.append(one)
            tell(f"{_told(point)}: {one.left_out or f'{1e3 * one.seconds[0]:.1f} ms'}")
        timed = [one for one in found if not one.left_out]
        for one in found:
            one.seconds = []
        for turn in range(repeats):
            for one in timed[:: -1 if turn % 2 else 1]:
                one.seconds.append(workers[one.point.cores].ask("time", key=_key(one.point)))
            tell(f"round {turn + 1} of {repeats}")
    return found


def count(wanted: Sequence[Point], tell: Callable[[str], None]) -> list[Found]:
    """Compiles points that grow devices, for fake ones; nothing is run."""
    found = []
    with Worker(devices=max(point.size for point in wanted)) as worker:
        for point in wanted:
            axis = AXES[point.axis].key.removeprefix("mesh.")
            config = point.config()
            config.mesh[axis] = 1
            known = worker.ask("compile_for", config=config_lib.to_dict(config), mesh={axis: point.size}, vocab=VOCAB)
            found.append(Found(point, known))
            tell(f"{_told(point)}: {known['temporary'] / 2**20:.2f} MiB")
    return found


def by_model(found: Sequence[Found], axis: str, cores: int | None = None) -> Iterator[tuple[str, list[Found]]]:
    """(model, what was found of it along the axis, from small to large)."""
    for model in AXES[axis].models:
        own = [one for one in found if (one.point.axis, one.point.model, one.point.cores) == (axis, model, cores)]
        if own:
            yield model, own


def _beyond(one: Found, before: Sequence[Found], limits: Limits) -> str:
    """Why a point is not run: its temporaries, or the time guessed from the size before it by its FLOPs."""
    if one.known["temporary"] > limits.bytes:
        return f"{one.known['temporary'] / 2**30:.1f} GiB of temporaries"
    last, point = before[-1] if before else None, one.point
    if last is None or (last.point.axis, last.point.model, last.point.cores) != (point.axis, point.model, point.cores):
        return ""
    if not last.seconds:
        return "the size before it was too large"
    guess = last.seconds[0] * one.known["flops"] / last.known["flops"]
    return f"some {guess:.0f} s an update" if guess > limits.seconds else ""


def _key(point: Point) -> str:
    return config_lib.fingerprint(point.config())


def _told(point: Point) -> str:
    cores = "" if point.cores is None else f", {point.cores} core{'s' if point.cores > 1 else ''}"
    return f"{point.model}, {point.axis} {point.size}{cores}"
