"""Temporary memory of the compiled train step: against vocabulary, against length, and what remat trades for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.growth_worker import Worker
from transformer_jax import config as config_lib
from transformer_jax.model.kernel import kernels
from transformer_jax.validate import problems

BASE = {"model.layers": 4, "model.width": 256, "model.heads": 4, "mesh.data": 1}
VOCABS = (5_000, 50_000)
CHUNKS = (1, 8, 32)
LONG = 4096
LENGTHS = (512, 1024, 2048, 4096, 8192)
FLOAT = 4  # bytes of what is float32: all of it


@dataclass(frozen=True)
class Case:
    """One program; `label` is its place in the tables of its part."""

    part: str
    label: tuple
    changes: dict
    vocab: int = 512

    def config(self):
        config = config_lib.base()
        for key, value in (BASE | self.changes).items():
            config_lib.override(config, key, value)
        return config


@dataclass
class Seen:
    """What was found of a case: as `growth.Found`."""

    case: Case
    known: dict
    seconds: list[float] = field(default_factory=list)

    @property
    def temporary(self) -> int:
        """Bytes."""
        return self.known["temporary"]

    @property
    def less_table(self) -> int:
        """Bytes without one gradient of the embedding table, V D numbers, which weigh as much as the state does."""
        return self.temporary - FLOAT * self.case.vocab * self.case.config().model.width


def cases(part: str) -> list[Case]:
    """Of one part, a key of PARTS."""
    return PARTS[part]()


def measure(wanted: Sequence[Case], repeats: int, tell: Callable[[str], None]) -> list[Seen]:
    """Compiles all cases; those of the remat part are also timed, in turns.

    Raises:
      UserError: if the process that does it ended.
    """
    found = []
    with Worker() as worker:
        for case in wanted:
            config = config_lib.to_dict(case.config())
            seen = Seen(case, worker.ask("build", key=_key(case), config=config, vocab=case.vocab))
            found.append(seen)
            if case.part == "remat":
                worker.ask("warm", key=_key(case))
            else:
                worker.ask("drop", key=_key(case))
            tell(f"{case.part}, {', '.join(map(str, case.label))}: {seen.temporary / 2**20:,.0f} MiB")
        timed = [seen for seen in found if seen.case.part == "remat"]
        for turn in range(repeats if timed else 0):
            for seen in timed[:: -1 if turn % 2 else 1]:
                seen.seconds.append(worker.ask("time", key=_key(seen.case)))
            tell(f"round {turn + 1} of {repeats}")
    return found


def _vocabulary() -> list[Case]:
    """label = (rows, remat, chunks, vocabulary)."""
    return [
        Case(
            "vocabulary",
            (rows, remat, chunks, vocab),
            {"data.length": LONG, "data.batch_size": rows, "model.remat": remat, "model.logits_chunks": chunks},
            vocab,
        )
        for rows, remat in ((1, "none"), (4, "none"), (1, "full"), (4, "full"))
        for chunks in CHUNKS
        for vocab in VOCABS
    ]


def _kernels() -> list[Case]:
    """label = (kernel, remat, length), of those kernels that this machine's platform has."""
    import jax

    found = []
    for name in kernels.names():
        for remat in ("none", "full"):
            changes = {"model.attention": name, "model.remat": remat, "data.batch_size": 1}
            each = [Case("kernels", (name, remat, length), changes | {"data.length": length}) for length in LENGTHS]
            if not problems(each[0].config(), n_devices=1, platform=jax.default_backend()):
                found += each
    return found


def _remat() -> list[Case]:
    """label = (stack, policy)."""
    return [
        Case(
            "remat",
            (stack, policy),
            {"data.length": 512, "data.batch_size": 8, "model.stack": stack, "model.remat": policy},
        )
        for stack in ("scan", "unroll")
        for policy in config_lib.CHOICES["model.remat"]
    ]


def _key(case: Case) -> str:
    return f"{config_lib.fingerprint(case.config())} {case.vocab}"


PARTS = {"vocabulary": _vocabulary, "kernels": _kernels, "remat": _remat}
