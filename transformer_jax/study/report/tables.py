"""The report as CSV, Markdown and text for a terminal."""

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report, differing, held_equal

if TYPE_CHECKING:
    from transformer_jax.study.report.charts import Picture


def write_results(report: Report, path: Path) -> None:
    """One row per run, with every metric that any run measured."""
    fields = ("step", "parameters", "tokens_per_second", "seconds", "flops_per_token", "skipped")
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
    header += ["low", "high", "p", "p_holm", "detectable", "parameters", "parameters_ratio", "speed_ratio"]
    header += ["note"]
    lines = []
    for metric, row in [(goal.metric, row) for goal in report.goals for row in goal.rows]:
        c, s = row.comparison, row.sample
        d = c.difference if c else None
        line = [metric, row.label, row.verdict, s.n, row.lost, s.mean, s.sd]
        line += [len(d.values), d.mean, d.sd, d.low, d.high, d.p] if d else [""] * 6
        line += [c.p_corrected, c.detectable] if c else ["", ""]
        line += [row.parameters, row.parameters_ratio, row.speed_ratio, c.reason if c else ""]
        lines.append(["" if isinstance(x, float) and math.isnan(x) else x for x in line])
    _write(path, header, lines)


def terminal_table(report: Report) -> str:
    """The verdicts as plain text, a table per metric, with what a reader must know beside them."""
    d = report.declaration
    lines = [f"{d['name']}: {d['question']}", *_terminal_lines(report)]
    for goal in report.also:
        first, *rest = _terminal_lines(goal)
        lines += ["", f"secondary: {first}", *rest]
    if report.also:
        lines += ["", words.family(report)]
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


def markdown(report: Report, pictures: "list[Picture]") -> str:
    """report.md; `pictures` are linked by file name."""
    d = report.declaration
    blocks = [
        f"# {_safe(d['name'])}",
        f"**{_safe(d['question'])}**",
        *(f"> **Note:** {_safe(warning)}" for warning in words.warnings(report)),
        *_markdown_goal(report),
        words.INTERVALS,
    ]
    for goal in report.also:
        blocks += [f"## Secondary metric: {_safe(goal.metric)}", *_markdown_goal(goal)]
    blocks += [
        *([_safe(words.family(report))] if report.also else []),
        _table(["figure", "value", "meaning"], [list(each) for each in words.key_figures(report)]),
    ]
    for picture in pictures:
        blocks += [
            f"## {_safe(picture.title)}",
            f"![{_safe(picture.title)}]({picture.name}.png)",
            picture.caption,
        ]
    varied = differing(report)
    labels = [row.label for row in report.rows]
    blocks += [
        "## In what the variants differ",
        _table(["key", *labels], [[key, *(str(by[label]) for label in labels)] for key, by in varied.items()]),
        "## What was held equal",
        _table(["key", "value"], [[key, str(value)] for key, value in held_equal(report).items()]),
        "## To run it again",
        "\n".join(f"- {_safe(line)}" for line in words.how_to_rerun(report)),
    ]
    return "\n\n".join(blocks) + "\n"


def _markdown_goal(report: Report) -> list[str]:
    """What was found on one metric."""
    cells = []
    for row in report.rows:
        line = words.cells(report, row)
        line[5] += f": {row.inapplicable}" if row.inapplicable else ""
        cells.append(line)
    return [
        _safe(words.findings(report)),
        "\n".join(f"- {_safe(words.sentence(report, row))}" for row in report.rows),
        _table(words.header(report), cells),
    ]


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(x if x == "---" else _safe(x) for x in line) + " |" for line in lines)


def _safe(text: str) -> str:
    """Text in which nothing is read as Markdown or HTML."""
    return "".join(f"&#{ord(c)};" if c in "<>&|*`[]\\" else c for c in text)


def _write(path: Path, header: list[str], lines: list[list]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
