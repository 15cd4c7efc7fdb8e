"""Records that are no records, in every kind of file."""

import json
from collections.abc import Iterator

from tests.faults.base import Bench, Row, fault, said, tiny, train, write_config

_GOOD = {
    "jsonl": [json.dumps({"text": f"one two three {i}"}).encode() for i in range(60)],
    "tsv": [f"one two {i}\teins zwei {i}".encode() for i in range(60)],
    "text": [f"one two three {i}".encode() for i in range(200)],
}
_VIEWS = {"jsonl": "text", "tsv": "prompt_answer", "text": "text"}
_BAD = {
    "half a line": b'{"text": "one t',
    "NUL bytes": bytes(64),
    "bytes that are not UTF-8": b"\xff\xfe\x00o\x00n\x00e",
    "a line of 20 MB": b'{"text": "' + b"x" * 20_000_000 + b'"}',
    "100,000 brackets": b"[" * 100_000,
}
_SKIPS = ("jsonl", "tsv")  # files of records; a text has none that could be left out


@fault("records")
def records(bench: Bench) -> Iterator[Row]:
    for kind, good in _GOOD.items():
        bads = dict(list(_BAD.items())[: bench.times(5, 2)])
        if kind not in _SKIPS:
            bads = {name: bads[name] for name in list(bads)[1:3]}
        yield _skipped(bench, kind, good, bads) if kind in _SKIPS else _named(bench, kind, good, bads)
    yield _too_many(bench)


def _skipped(bench: Bench, kind: str, good: list[bytes], bads: dict[str, bytes]) -> Row:
    """All kinds of bad lines in one file, one of each."""
    code, output, workdir = _train(bench, kind, [*good[:3], *bads.values(), *good[3:]])
    notes = []
    if code == 0:
        notes = json.loads((workdir / "manifest.json").read_text())["data_report"]["notes"]["bad_lines"]
    expected = [f"corpus.{kind}:{4 + i}" for i in range(len(bads))]
    right = (
        code == 0 and [each.split(": ")[0] for each in notes] == expected and all(each in output for each in expected)
    )
    reasons = "; ".join(each.partition(": ")[2][:60] for each in notes)
    return Row(
        f"{', '.join(bads)} in a .{kind} file",
        len(bads),
        f"{len(notes)} skipped, counted and named in the log and in manifest.json ({reasons})"
        if right
        else f"code {code}: {output[-400:]}",
        right,
    )


def _named(bench: Bench, kind: str, good: list[bytes], bads: dict[str, bytes]) -> Row:
    told = []
    for bad in bads.values():
        code, output, workdir = _train(bench, kind, [*good[:3], bad, *good[3:]])
        told.append(said(output, f"corpus.{kind}:4") if code == 2 and not workdir.exists() else "")
    return Row(f"{', '.join(bads)} in a text", len(bads), f"refused, nothing written: “{_place(told)}”", all(told))


def _too_many(bench: Bench) -> Row:
    code, output, workdir = _train(bench, "jsonl", [*_GOOD["jsonl"], *[b"{"] * 11])
    line = said(output, "max_bad=10")
    return Row(
        "more bad lines than data.corpus allows", 11, f"refused: “{_place([line])}”", code == 2 and not workdir.exists()
    )


def _train(bench: Bench, kind: str, lines: list[bytes]):
    place = bench.fresh("records")
    file = place / f"corpus.{kind}"
    file.write_bytes(b"\n".join(lines) + b"\n")
    changes = dict(data__corpus=f"{kind}(path={str(file)!r})", data__view=_VIEWS[kind], run__checkpoint_every=100)
    config = tiny(train__steps=2, train__eval_every=2, data__length=64, **changes)
    code, output = train(bench, write_config(config, place / "config.py"), place / "run")
    return code, output, place / "run"


def _place(told: list[str]) -> str:
    """The first line, without the directory."""
    line = next(iter(told), "")
    start = line.find("path='")
    end = line.find("corpus.", start)
    return (line[: start + 6] + "…/" + line[end:] if 0 <= start < end else line)[:220]
