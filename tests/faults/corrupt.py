"""Files of checkpoints that are flipped, cut, emptied, missing, new or another's."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.faults.base import Bench, Row, differences, fault, reached, tiny, undisturbed
from transformer_jax.errors import UserError
from transformer_jax.train import loop, verify

Damage = Callable[[Path, np.random.Generator], str]


def flip(path: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    at = int(rng.integers(len(content)))
    content[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"bit flipped at byte {at}"


def truncate(path: Path, rng: np.random.Generator) -> str:
    left = int(rng.integers(path.stat().st_size))
    path.write_bytes(path.read_bytes()[:left])
    return f"cut to {left} bytes"


def zero(path: Path, rng: np.random.Generator) -> str:
    content = path.read_bytes()
    at = int(rng.integers(len(content)))
    path.write_bytes(content[:at] + bytes(len(content) - at))
    # Zeros may be what stood there.
    return f"zeros from byte {at}" if any(content[at:]) else truncate(path, rng)


def remove(path: Path, rng: np.random.Generator) -> str:
    path.unlink()
    return "removed"


def add(path: Path, rng: np.random.Generator) -> str:
    shutil.copy(path, path.with_name(path.name + ".new"))
    return "another beside it"


def link(path: Path, rng: np.random.Generator) -> str:
    shutil.move(path, path.parents[len(path.parts) - 2 - path.parts.index("checkpoints")] / "moved")
    path.symlink_to(path.parents[len(path.parts) - 2 - path.parts.index("checkpoints")] / "moved")
    return "a link to where it was moved"


def _manifest(content: object) -> Damage:
    def write(path: Path, rng: np.random.Generator) -> str:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return f"holds {content!r}"

    return write


MANIFESTS = [_manifest(each) for each in ([], {}, {"state": 1}, "null", "7", "{", '"text"', "[" * 10_000, "\x00" * 100)]
FILES = [flip, truncate, zero, remove, add, link]


@fault("corrupt")
def corrupt(bench: Bench) -> Iterator[Row]:
    """A finished run is put back before its result, a file of its newest checkpoint is damaged, and it goes on."""
    config = tiny(train__steps=40, run__keep_checkpoints=3)
    _, expected, _ = undisturbed(bench, "corrupt", config)
    rng = np.random.default_rng(bench.seed)
    flips = [(FILES[i % 2], False) for i in range(bench.times(50, 4))]
    others = [(FILES[2 + i % 4], False) for i in range(bench.times(16, 4))]
    manifests = [(each, True) for each in [*MANIFESTS, flip, truncate, remove][: bench.times(99, 3)]]
    for name, tries in [
        ("a bit of a file of the newest checkpoint flipped, or the file cut", flips),
        ("a file of it zeroed from somewhere on, removed, doubled, or a link", others),
        ("its manifest flipped, cut, removed, or JSON of another kind", manifests),
    ]:
        silent, refused, back = [], [], 0
        for damage, of_manifest in tries:
            told, how = _once(bench, config, expected, damage, of_manifest, rng)
            silent += [how] if told == "silent" else []
            refused += [how] if told == "refused" else []
            back += told == "walked back"
        yield Row(
            name,
            len(tries),
            f"{len(silent)} silent wrong restores; {back} times the user was told, the step kept as N.corrupt, and the "
            f"run went on from the checkpoint before, to the same end{_list(silent)}{_list(refused)}",
            not silent and not refused,
        )
    yield from _all_bad(bench, config, expected)


def _once(bench: Bench, config, expected: dict, damage: Damage, of_manifest: bool, rng) -> tuple[str, str]:
    workdir = _copied(bench)
    directory = workdir / "checkpoints"
    newest = verify.steps(directory)[0]
    files = [verify.manifest_of(directory, newest)]
    if not of_manifest:
        files = sorted(path for path in (directory / str(newest)).rglob("*") if path.is_file() and path.stat().st_size)
    chosen = files[int(rng.integers(len(files)))]
    how = f"{chosen.relative_to(directory)}: {damage(chosen, rng)}"
    print(f"corrupt: {how}", flush=True)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            loop.train(config, workdir, progress_file=io.StringIO())
    except UserError as error:
        return "refused", f"{how}: {error}"
    if differences(expected, reached(config, workdir)) or f"checkpoint {newest} does not verify" not in str(
        output.getvalue()
    ):
        return "silent", how
    return ("walked back" if (directory / f"{newest}.corrupt").is_dir() else "silent"), how


def _all_bad(bench: Bench, config, expected: dict) -> Iterator[Row]:
    """Every checkpoint is damaged: the run begins anew, and says so."""
    workdir = _copied(bench)
    for step in verify.steps(workdir / "checkpoints"):
        path = max((workdir / "checkpoints" / str(step)).rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
        flip(path, np.random.default_rng(step))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        loop.train(config, workdir, progress_file=io.StringIO())
    told = output.getvalue().count("does not verify")
    good = told == 3 and not differences(expected, reached(config, workdir))
    yield Row(
        "every checkpoint damaged",
        1,
        f"{told} are told and kept as N.corrupt; the run begins anew, to the same end",
        good,
    )


def _copied(bench: Bench) -> Path:
    """The undisturbed run, as it was before its result was written."""
    workdir = bench.fresh("corrupt") / "run"
    shutil.copytree(bench.directory / "undisturbed/corrupt/run", workdir)
    (workdir / "result.json").unlink()
    return workdir


def _list(lines: list[str]) -> str:
    return f" ({'; '.join(lines[:5])})" if lines else ""
