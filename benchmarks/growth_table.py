"""docs/growth.md: the tables of each part between its marks, and the pictures beside it."""

import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.growth import AXES, CORES, PARTS, Found, by_model
from benchmarks.growth_fit import Fit, fit
from transformer_jax.errors import UserError

PAGE = "growth.md"


def marks(part: str) -> tuple[str, str]:
    """What the tables of a part lie between."""
    return f"<!-- {part} -->", f"<!-- end of {part} -->"


def write(page: Path, part: str, text: str) -> None:
    """Replaces what lies between the marks of `part`; the page must have them."""
    begin, end = marks(part)
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")


def check_marks(page: Path, parts: Sequence[str]) -> None:
    """Raises UserError unless the page is there and has a place for each part."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    for begin, end in map(marks, parts):
        if end not in text.partition(begin)[2]:
            raise UserError(
                f"--out={page.parent}: give a folder whose {page.name} has {begin} and {end}; tables go between them"
            )


def header(argv: Sequence[str]) -> str:
    """The command, and what ran it."""
    import jax

    from benchmarks import record
    from benchmarks.measure import machine

    here = machine()
    return (
        f"`{record.command_line(list(argv))}`, {datetime.now(UTC):%Y-%m-%d}, {here['device_count']} x "
        f"{here['device_kind']} ({here['cpu_count']} cores), jax {jax.__version__}."
    )


def tables(part: str, found: Sequence[Found], header: str) -> str:
    """Of one part; `header` says what was run, and on what."""
    return f"{header}\n\n{_TABLES[part](found)}"


def seconds(one: Found) -> float | None:
    """The median of the rounds; None if it was not timed."""
    return statistics.median(one.seconds) if one.seconds else None


def rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; all but the first column to the right."""
    shown = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in shown).replace("| --- |", "|---|", 1)


def exponent(own: Sequence[Found], value: Callable[[Found], float | None]) -> Fit | None:
    """Of what `value` reads, over the points that have it."""
    pairs = [(one.point.size, value(one)) for one in own]
    pairs = [(x, y) for x, y in pairs if y is not None]
    return fit([x for x, _ in pairs], [y for _, y in pairs])


def known(name: str) -> Callable[[Found], float]:
    """Reads it of a `Found`."""
    return lambda one: one.known[name]


def milliseconds(one: Found | None) -> str:
    """Median, least and greatest."""
    if one is None or not one.seconds:
        return "–"
    middle, least, greatest = (1e3 * f(one.seconds) for f in (statistics.median, min, max))
    digits = 0 if middle >= 1000 else 1 if middle >= 10 else 2
    return f"{middle:,.{digits}f} ({least:,.{digits}f} to {greatest:,.{digits}f})"


def _length(found) -> str:
    own = dict(by_model(found, "length"))
    return (
        "Exponents, fitted over the upper half of the lengths:\n\n"
        + _exponents(own)
        + "\nMilliseconds of an update, median of the rounds (least to greatest):\n\n"
        + _sizes("length", own, milliseconds)
        + "\nMiB of temporaries of the compiled update:\n\n"
        + _sizes("length", own, lambda one: "–" if one is None else f"{one.known['temporary'] / 2**20:,.1f}")
        + _left_out(found)
    )


def _sizes_part(found) -> str:
    texts = []
    for axis in PARTS["sizes"]:
        own = dict(by_model(found, axis))
        texts.append(f"### {AXES[axis].key}\n\n{_exponents(own)}\n" + _sizes(axis, own, milliseconds))
    return "\n".join(texts) + _left_out(found)


def _cores(found) -> str:
    by_cores = {cores: dict(by_model(found, "cores", cores)) for cores in CORES}
    lines = []
    for model, ones in by_cores[CORES[0]].items():
        for one in ones:
            other = next(
                (each for each in by_cores[CORES[1]].get(model, []) if each.point.size == one.point.size), None
            )
            if not one.seconds or other is None or not other.seconds:
                continue
            ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
            per_token = [1e6 * seconds(each) / one.point.size for each in (one, other)]
            lines.append(
                [
                    model,
                    f"{one.point.size:,}",
                    *(f"{value:,.1f}" for value in per_token),
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                    f"{one.known['in_a_row']:,}",
                    f"{one.known['flops'] / one.known['in_a_row'] / 1e6:,.2f}",
                ]
            )
    head = ["model", "length", "µs per token, 1 core", "2 cores", "1 core / 2 cores", "in a row", "MFLOP of each"]
    fits = [
        [
            model,
            _range(exponent(ones, known("in_a_row"))),
            str(exponent(ones, known("in_a_row"))),
            *(str(exponent(by_cores[cores].get(model, []), seconds) or "–") for cores in CORES),
        ]
        for model, ones in by_cores[CORES[0]].items()
    ]
    return (
        rows(head, lines)
        + "\nExponents over the upper half of the lengths:\n\n"
        + rows(["model", "lengths", "in a row", "time, 1 core", "time, 2 cores"], fits)
        + _left_out(found)
    )


def _devices(found) -> str:
    texts = []
    for axis in PARTS["devices"]:
        lines = []
        for model, ones in by_model(found, axis):
            for name, label in (("temporary", "temporaries"), ("arguments", "state and batch"), ("sent", "sent")):
                several = [one for one in ones if one.point.size > 1] if name == "sent" else ones
                cells = [f"{one.known[name] / 2**20:,.2f}" for one in ones]
                lines.append([model, label, *cells, str(exponent(several, known(name)) or "–")])
        sizes = [str(size) for size in AXES[axis].sizes]
        texts.append(f"### {AXES[axis].key}\n\n" + rows(["model", "MiB per device", *sizes, "exponent"], lines))
    return "\n".join(texts)


def _exponents(own: dict[str, list[Found]]) -> str:
    lines = []
    for model, ones in own.items():
        cells = [exponent(ones, seconds), *(exponent(ones, known(name)) for name in ("flops", "temporary"))]
        last = next((one for one in reversed(ones) if one.seconds), None)
        speed = "–" if last is None else f"{last.known['flops'] / seconds(last) / 1e9:,.0f}"
        counts = sorted({one.known["parameters"] for one in ones})
        numbers = f"{counts[0]:,}" if len(counts) == 1 else str(exponent(ones, known("parameters")))
        lines.append([model, _range(cells[0]), *(str(cell or "–") for cell in cells), speed, numbers])
    head = ["model", "timed sizes fitted", "time", "FLOPs", "temporaries", "GFLOP/s at the largest", "parameters"]
    return rows(head, lines)


def _range(found: Fit | None) -> str:
    return "–" if found is None else f"{found.first:,} to {found.last:,}"


def _sizes(axis: str, own: dict[str, list[Found]], cell: Callable[[Found | None], str]) -> str:
    lines = []
    for size in sorted({one.point.size for ones in own.values() for one in ones}):
        at = {model: next((one for one in ones if one.point.size == size), None) for model, ones in own.items()}
        lines.append([f"{size:,}", *(cell(one) for one in at.values())])
    return rows([AXES[axis].key, *own], lines)


def _left_out(found: Sequence[Found]) -> str:
    lines = [f"{one.point.model} at {one.point.size:,} ({one.left_out})" for one in found if one.left_out]
    return f"\nNot timed: {'; '.join(lines)}.\n" if lines else ""


_TABLES = {"length": _length, "sizes": _sizes_part, "cores": _cores, "devices": _devices}
