"""The report as CSV and as text for a terminal."""

import csv
import math
from pathlib import Path

from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report

_FORMULA = ("=", "+", "-", "@")


def write_results(report: Report, path: Path) -> None:
    """One row per run, with every metric that any run measured."""
    fields = ("step", "parameters", "tokens_per_second", "members", "memory_bytes", "seconds", "compile_seconds")
    fields += ("flops_per_token", "skipped", "stopped_early")
    metrics = sorted({name for run in report.runs for name in run.result.get("metrics", {})})
    header = ["variant", "seed", "status", *metrics, *fields, "problem", "directory"]
    lines = [
        [
            run.label,
            run.seed,
            run.status,
            *(run.result.get("metrics", {}).get(name, "") for name in metrics),
            *(run.result.get(name, "") for name in fields),
            run.problem or "; ".join(run.result.get("not_applicable", {}).values()),
            f"runs/{run.directory.name}",
        ]
        for run in report.runs
    ]
    _write(path, header, lines)


def write_comparisons(report: Report, path: Path) -> None:
    """One row per metric and variant, unrounded; empty cells where there is no figure."""
    header = ["metric", "variant", "verdict", "n", "lost", "mean", "sd", "pairs", "difference", "difference_sd"]
    header += ["low", "high", "p", "p_holm", "p_sign_flip", "boot_low", "boot_high", "p_equivalent", "detectable"]
    header += ["parameters", "parameters_ratio", "flops_per_token", "speed", "speed_ratio", "memory_bytes", "note"]
    lines = []
    for metric, row in [(goal.metric, row) for goal in report.goals for row in goal.rows]:
        c, s, cost = row.comparison, row.sample, row.cost
        d = c.difference if c else None
        line = [metric, row.label, row.verdict, s.n, row.lost, s.mean, s.sd]
        line += [len(d.values), d.mean, d.sd, d.low, d.high, d.p] if d else [""] * 6
        line += [c.p_corrected if c else ""]
        line += [d.p_sign_flip, d.boot_low, d.boot_high] if d else [""] * 3
        line += [c.p_equivalent, c.detectable] if c else ["", ""]
        line += [cost.parameters, row.parameters_ratio, cost.flops_per_token, cost.tokens_per_second, row.speed_ratio]
        line += [cost.memory_bytes, c.reason if c else ""]
        lines.append(["" if x is None or (isinstance(x, float) and math.isnan(x)) else x for x in line])
    _write(path, header, lines)


def terminal_table(report: Report) -> str:
    """The verdicts as plain text, a table per metric, with what a reader must know beside them."""
    d = report.declaration
    lines = [f"{d['name']}: {d['question']}", words.headline(report), "", *_terminal_lines(report)]
    for goal in report.also:
        first, *rest = _terminal_lines(goal)
        lines += ["", f"secondary: {first}", *rest]
    if report.also:
        lines += ["", words.family(report)]
    lines += [""] * bool(report.analysis.claims)
    lines += [f"claim {each.claim} ({each.claim.source}): {each.outcome}" for each in report.analysis.claims]
    return "\n".join([*lines, *(f"! {warning}" for warning in words.warnings(report))])


def _terminal_lines(report: Report) -> list[str]:
    """The table of one metric."""
    rows = [words.header(report), *(words.cells(report, row) for row in report.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = (0, 5)  # variant and verdict; the rest are figures

    def line(row: list[str]) -> str:
        padded = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(padded).rstrip()

    alpha, n = report.declaration["alpha"], report.decimals
    return [
        f"{report.metric}, {words.direction(report)}; alpha {alpha:g}; baseline: {report.baseline.label}",
        "",
        line(rows[0]),
        "-" * len(line(rows[0])),
        *map(line, rows[1:]),
        "",
        *words.inapplicable(report),
        words.findings(report),
        f"Noise floor (sd of the baseline over seeds) {words.number(report.noise_floor, n)}; "
        f"smallest detectable difference at 80 % power about {words.number(report.detectable, n)}.",
    ]


def _write(path: Path, header: list[str], lines: list[list]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[_cell(value) for value in line] for line in lines])


def _cell(value: object) -> object:
    """Texts that a spreadsheet would take for formulas get an apostrophe before them; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(_FORMULA) else value
