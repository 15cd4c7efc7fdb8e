"""docs/memory.md: the tables of each part between its marks."""

import statistics
from collections.abc import Sequence

from benchmarks.growth_fit import fit
from benchmarks.growth_table import milliseconds, rows
from benchmarks.memory import LENGTHS, VOCABS, Seen

PAGE = "memory.md"


def tables(part: str, found: Sequence[Seen], header: str) -> str:
    """Of one part; `header` says what was run, and on what."""
    return f"{header}\n\n{_TABLES[part](found)}"


def _vocabulary(found) -> str:
    by_label = {seen.case.label: seen for seen in found}
    lines = []
    for label in dict.fromkeys(seen.case.label[:3] for seen in found):
        small, large = (by_label[(*label, vocab)] for vocab in VOCABS)
        lines.append(
            [
                f"{label[0]} rows, remat {label[1]}" if label[0] > 1 else f"1 row, remat {label[1]}",
                str(label[2]),
                _mib(small.temporary),
                _mib(large.temporary),
                f"{large.temporary / small.temporary:.2f}",
                _mib(small.less_table),
                _mib(large.less_table),
                f"{large.less_table / small.less_table:.2f}",
                _mib(small.known["arguments"]),
                _mib(large.known["arguments"]),
            ]
        )
    few, many = (f"{vocab:,}" for vocab in VOCABS)
    head = ["batch", "logits_chunks", f"temporaries, V {few}", f"V {many}", "ratio"]
    head += [f"less one gradient of the table, V {few}", f"V {many}", "ratio", f"state, V {few}", f"V {many}"]
    return rows(head, lines)


def _kernels(found) -> str:
    lines = []
    for label in dict.fromkeys(seen.case.label[:2] for seen in found):
        own = [seen for seen in found if seen.case.label[:2] == label]
        grown = fit([seen.case.label[2] for seen in own], [seen.temporary for seen in own])
        lines.append([f"{label[0]}, remat {label[1]}", *(_mib(seen.temporary) for seen in own), str(grown)])
    return rows(["MiB of temporaries", *(f"L {length:,}" for length in LENGTHS), "exponent"], lines)


def _remat(found) -> str:
    plain = {seen.case.label[0]: seen for seen in found if seen.case.label[1] == "none"}
    lines = []
    for seen in found:
        stack, policy = seen.case.label
        base = plain[stack]
        ratios = [a / b for a, b in zip(seen.seconds, base.seconds, strict=True)]
        time = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        memory = f"{seen.temporary / base.temporary:.2f}"
        lines.append([f"{stack}, {policy}", milliseconds(seen), time, _mib(seen.temporary), memory])
    return rows(["stack, remat", "milliseconds", "time, relative", "MiB of temporaries", "memory, relative"], lines)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


_TABLES = {"vocabulary": _vocabulary, "kernels": _kernels, "remat": _remat}
