"""The table of variants, with everything that was measured and tested of each."""

import math

from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.report.content import Cell, Table
from transformer_jax.study.report.svg import short


def table(report: Report, title: str) -> Table:
    """A row per variant; columns that no variant has a figure for are left out."""
    columns = [_column(report, *each) for each in _columns(report)]
    kept = [column for column in columns if column[0] in _ALWAYS or any(cell.text != "–" for cell in column[1])]
    rows = tuple(zip(*(cells for _, cells in kept), strict=True))
    left = tuple(i for i, (name, _) in enumerate(kept) if name in ("variant", "verdict", "equivalence"))
    marked = next(i for i, row in enumerate(report.rows) if row.comparison is None)
    return Table(title, tuple(name for name, _ in kept), rows, left, (), True, marked)


_ALWAYS = ("#", "variant", "verdict")


def _columns(report: Report) -> list:
    level = words.level(report)
    return [
        ("#", lambda row: Cell(str(row.number), row.number)),
        ("variant", lambda row: Cell(row.label, row.label)),
        ("verdict", _verdict),
        (f"{words.metric_name(report)}, mean ± sd", lambda row: Cell(words.mean_sd(report, row), row.sample.mean)),
        ("difference", lambda row: Cell(words.difference(report, row), _of(row, "mean"))),
        (f"{level} interval (t)", lambda row: Cell(words.interval(report, row), _of(row, "low"))),
        ("p (Holm)", lambda row: _p(row.comparison.p_corrected if row.comparison else math.nan)),
        ("p (sign-flip)", lambda row: _p(_of(row, "p_sign_flip"))),
        (f"{level} interval (bootstrap)", lambda row: Cell(words.bootstrap(report, row), _of(row, "boot_low"))),
        ("equivalence", lambda row: _equivalence(report, row)),
        ("parameters", lambda row: _cost(row, "parameters", "{:,.0f}".format)),
        ("FLOPs per token", lambda row: _cost(row, "flops_per_token", short)),
        ("tokens/s", lambda row: _cost(row, "tokens_per_second", short)),
        ("memory", lambda row: _cost(row, "memory_bytes", lambda value: short(value) + "B")),
    ]


def _column(report: Report, name: str, make) -> tuple[str, list[Cell]]:
    return name, [make(row) for row in report.rows]


def _verdict(row: Row) -> Cell:
    note = "; ".join(text for text in (row.lost, row.inapplicable) if text)
    return Cell(row.verdict, row.verdict, verdict=row.verdict, note=note)


def _equivalence(report: Report, row: Row) -> Cell:
    if not report.margin or not row.comparison or math.isnan(row.comparison.p_equivalent):
        return Cell("–")
    said = f"within ±{report.margin:g}" if row.comparison.within else "not shown"
    p = row.comparison.p_equivalent
    return Cell(f"{said} (p {words.p_value(p)})", p)


def _p(p: float) -> Cell:
    return Cell(words.p_value(p), p)


def _of(row: Row, name: str) -> float:
    found = row.comparison.difference if row.comparison else None
    return getattr(found, name) if found else math.nan


def _cost(row: Row, key: str, write) -> Cell:
    value, ratio = getattr(row.cost, key), row.ratio(key)
    if value is None:
        return Cell("–")
    told = "" if row.comparison is None or math.isnan(ratio) or round(ratio, 2) == 1 else f" ({words.ratio(ratio)})"
    return Cell(write(value) + told, value)
