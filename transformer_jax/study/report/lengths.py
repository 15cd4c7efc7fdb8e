"""What the variants get right on each test set: the lengths of training, and those beyond."""

import math
import statistics

from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.report.content import Block, Legend, Panels, Picture, Text
from transformer_jax.study.report.curves import end_label, legend, style_of
from transformer_jax.study.report.svg import SOFT, Scale, Svg, dodge, fit
from transformer_jax.study.store import FINISHED

_MEASURES = ("accuracy", "exact_match", "bits_per_byte")


def blocks(report: Report) -> tuple[Block, ...]:
    """A picture per measure; nothing unless there are test sets beside those of the training's own lengths."""
    found = measured(report)
    made = tuple(_picture(report, measure, by_set) for measure, by_set in found.items())
    if not made:
        return ()
    note = "Mean over seeds on each test set; a variant to which a set does not apply has no mark there."
    lines: Legend = legend(report, "Variants shown by length")
    return lines, Text(note, "small"), Panels(made)


def measured(report: Report) -> dict[str, dict[str, dict[str, float]]]:
    """measure -> test set -> label -> mean over the finished runs, for measures with two sets or more."""
    sums: dict[str, dict[str, dict[str, list[float]]]] = {}
    sets: dict[str, None] = {}
    for run in report.runs:
        for name, value in run.result.get("metrics", {}).items() if run.status == FINISHED else ():
            split, _, measure = name.partition("/")
            sets.setdefault(split)
            if measure in _MEASURES and value is not None and math.isfinite(value):
                sums.setdefault(measure, {}).setdefault(split, {}).setdefault(run.label, []).append(value)
    order = sorted(sets, key=_place)
    if not set(order) - {"train", "valid", "test"}:
        return {}
    return {
        measure: {
            split: {label: statistics.fmean(values) for label, values in sums[measure][split].items()}
            for split in order
            if split in sums[measure]
        }
        for measure in _MEASURES
        if len(sums.get(measure, {})) > 1
    }


def _place(split: str) -> tuple[int, float, str]:
    """The sets of the training's lengths first, then '2x' before '4x' before '16x'."""
    own = {"train": 0, "valid": 1, "test": 2}
    digits = "".join(c for c in split if c.isdigit())
    return own.get(split, 3), float(digits or "inf"), split


def _picture(report: Report, measure: str, by_set: dict[str, dict[str, float]]) -> Picture:
    title = f"{measure.replace('_', ' ').capitalize()} by test set"
    sets = list(by_set)
    told = "; ".join(
        f"{row.label}: " + ", ".join(f"{s} {by_set[s][row.label]:.3g}" for s in sets if row.label in by_set[s])
        for row in report.rows
    )
    svg = Svg(f"lengths_{measure}", 330, 300, title, told)
    x = Scale(0, len(sets) - 1, 74, 296)
    values = [value for found in by_set.values() for value in found.values()]
    share = measure != "bits_per_byte"
    y = Scale(-0.03, 1.03, 258, 16) if share and max(values) > 0.5 else fit([0.0, *values], 258, 16)
    svg.y_axis(y, 52, 308)
    for i, name in enumerate(sets):
        svg.text(x(i), 276, name, anchor="middle")
    svg.line(52, 258, 308, 258, SOFT)
    ends = [(row, by_set[sets[-1]][row.label]) for row in report.rows if row.label in by_set[sets[-1]]]
    places = dodge([y(value) for _, value in ends], 11, 14, 256)
    at = {row.label: place for (row, _), place in zip(ends, places, strict=True)}
    for row in sorted(report.rows, key=lambda row: row.comparison is None):
        _draw(
            svg,
            report,
            row,
            [(x(i), y(by_set[s][row.label])) for i, s in enumerate(sets) if row.label in by_set[s]],
            at,
        )
    return Picture(svg.name, title, "", svg)


def _draw(svg: Svg, report: Report, row: Row, points: list[tuple[float, float]], at: dict[str, float]) -> None:
    colour, dash, shape = style_of(report, row)
    with svg.group(data_v=row.number):
        svg.polyline(points, colour, dash)
        for px, py in points:
            svg.marker(shape, px, py, 3.4, colour, row.label)
        if row.label in at:
            end_label(svg, 312, at[row.label], points[-1][1], (14, 256), row.number, colour)
