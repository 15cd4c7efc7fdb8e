"""Learning curves with bands, a variant at a time or all together, and the legend that shows and hides them."""

import json
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from transformer_jax.study.report import words
from transformer_jax.study.report.charts import core, nearness
from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.report.content import Block, Legend, Picture, Text
from transformer_jax.study.report.svg import DASHES, INK, LINES, PAPER, SHAPES, SOFT, Svg, dodge, fit
from transformer_jax.study.store import Run

_FIRST = 8  # variants that a page opens with
_POINTS, _POINTS_NARROW = 160, 50
_START = 0.25  # the share of the training whose values do not widen the vertical axis

Curve = dict[int, float]  # step -> value


class Point(NamedTuple):
    """Mean, lowest and highest over seeds at a step."""

    step: float
    mean: float
    low: float
    high: float


def style_of(report: Report, row: Row) -> tuple[str, str, str]:
    """Colour, dash pattern and marker of a variant, the same in every picture of it."""
    if row.comparison is None:
        return INK, "", "diamond"
    k = row.number - 1 - (row.number > report.baseline.number)
    return LINES[k % len(LINES)], DASHES[k // len(LINES) % len(DASHES)], SHAPES[k % len(SHAPES)]


def legend(report: Report, name: str) -> Legend:
    """Of all variants; the page opens with the baseline and the best ones."""
    items = tuple((row.number, row.label, *style_of(report, row)) for row in report.rows)
    sign = -1 if report.direction == "max" else 1
    ranked = [row for row in report.rows if row.comparison and not math.isnan(row.sample.mean)]
    ranked.sort(key=lambda row: sign * row.sample.mean)
    ranked += [row for row in report.rows if row.comparison and row not in ranked]
    first = [report.baseline, *ranked][:_FIRST]
    return Legend(name, items, frozenset(row.number for row in first))


def blocks(report: Report) -> tuple[Block, ...]:
    """The legend and every curve for which the runs have logged points; nothing if none has."""
    split, _, name = report.metric.partition("/")
    keys = [report.metric, "train/loss"] + ([f"valid/{name}"] if split != "valid" else [])
    found = read(report.runs, keys)
    metric, gap = report.metric, True
    if not any(len(curve) > 1 for curve in found[metric].values()) and split != "valid":
        metric, gap = f"valid/{name}", False  # the goal is measured once; its course is that of the valid split
    end = "The first quarter of the training may run out of the picture."
    told = f"Mean over seeds, band from the lowest to the highest. {end}"
    title = words.metric_name(report) if gap else metric.replace("/", " ").replace("_", " ")
    made = [_curves(report, "curve", f"Learning curves: {title}", told, found[metric])]
    if gap:
        made.append(_gaps(report, found[metric], f"Difference in {title} while training"))
    if metric != "train/loss":
        made.append(_curves(report, "train", "Learning curves: training loss", told, found["train/loss"]))
    pictures = [picture for picture in made if picture]
    note = Text("The numbers at the ends of the lines are those of the table and of the legend.", "small")
    return (legend(report, "Variants shown in the curves"), note, *pictures) if pictures else ()


def read(runs: Sequence[Run], keys: Sequence[str]) -> dict[str, dict[tuple[str, int], Curve]]:
    """key -> (label, seed) -> curve; every file is read once. Of a step logged twice the later value counts."""
    found: dict[str, dict[tuple[str, int], Curve]] = {key: {} for key in keys}
    quoted = [f'"{key}"' for key in keys]
    for run in runs:
        path = run.directory / "metrics.jsonl"
        mine: dict[str, Curve] = {key: {} for key in keys}
        for line in path.read_text().splitlines() if path.is_file() else ():
            if not any(key in line for key in quoted):
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # a killed process leaves a torn line; the resumed run has logged that step again
            for key in keys:
                if row.get(key) is not None:
                    mine[key][int(row["step"])] = float(row[key])
        for key in keys:
            found[key][run.label, run.seed] = dict(sorted(mine[key].items()))
    return found


def band(curves: Sequence[Curve]) -> list[Point]:
    """Over the curves, at each step that any of them has; non-finite values are left out."""
    values: dict[int, list[float]] = {}
    for curve in curves:
        for step, value in curve.items():
            if math.isfinite(value):
                values.setdefault(step, []).append(value)
    return [Point(step, statistics.fmean(vs), min(vs), max(vs)) for step, vs in sorted(values.items())]


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: the first and the last, and between them means of neighbours, with their extremes."""
    if len(points) <= most:
        return list(points)
    inner, groups = points[1:-1], most - 2
    made = [points[0]]
    for i in range(groups):
        some = inner[i * len(inner) // groups : (i + 1) * len(inner) // groups]
        middle = [statistics.fmean(each) for each in zip(*((p.step, p.mean) for p in some), strict=True)]
        made.append(Point(*middle, min(p.low for p in some), max(p.high for p in some)))
    return [*made, points[-1]]


def _curves(report: Report, name: str, title: str, caption: str, found: dict) -> Picture | None:
    bands = {row.label: band([c for (label, _), c in found.items() if label == row.label]) for row in report.rows}
    return _picture(report, name, title, caption, bands, _range(list(bands.values())))


def _gaps(report: Report, found: dict, title: str) -> Picture | None:
    base, bands = report.baseline.label, {}
    for row in report.rows:
        if row.comparison:
            pairs = [(found[row.label, s], found[base, s]) for (label, s) in found if label == base
                     if (row.label, s) in found]  # fmt: skip
            bands[row.label] = band([{k: a[k] - b[k] for k in a if k in b} for a, b in pairs])
    near = nearness(report)
    limits = _range([b for b in bands.values() if b] + [[Point(0, 0.0, 0.0, 0.0)]])
    if near:
        limits = (max(limits[0], -near), min(limits[1], near))
    caption = f"Minus {base}, paired by seed: mean over seeds, band from the lowest to the highest."
    return _picture(report, "gap", title, caption, bands, limits)


def _picture(
    report: Report, name: str, title: str, caption: str, bands: dict[str, list[Point]], limits: tuple[float, float]
) -> Picture | None:
    if all(len(points) < 2 for points in bands.values()):
        return None
    told = "; ".join(
        f"{label} from {points[0].mean:.4g} to {points[-1].mean:.4g}" for label, points in bands.items() if points
    )
    wide, narrow = Svg(name, 960, 420, title, told), Svg(f"{name}-narrow", 340, 300, title, told)
    _draw(wide, report, bands, limits, _POINTS)
    _draw(narrow, report, bands, limits, _POINTS_NARROW)
    return Picture(name, title, caption, wide, narrow)


def _draw(svg: Svg, report: Report, bands: dict[str, list[Point]], limits: tuple[float, float], most: int) -> None:
    left, right, top, bottom = 58, svg.width - 30, 14, svg.height - 44
    every = [points for points in bands.values() if points]
    x = fit([p.step for points in every for p in (points[0], points[-1])], left, right, pad=0.0)
    y = fit(limits, bottom, top, pad=0.05)
    svg.x_axis(x, top, bottom, "updates", 7 if svg.width > 500 else 4)
    svg.y_axis(y, left, right)
    if y.inside(0) and y.low < 0:
        svg.line(left, y(0), right, y(0), SOFT, 1.2)
    shown = [row for row in report.rows if bands.get(row.label)]
    ends = {row.label: y(max(y.low, min(y.high, bands[row.label][-1].mean))) for row in shown}
    places = dict(zip(ends, dodge(list(ends.values()), 11, top + 4, bottom), strict=True))
    # The baseline is drawn last, on top of the others. One clip for all: each costs a layer when made into a PNG.
    with svg.clip(left, top, right - left + 4, bottom - top):
        for row in sorted(shown, key=lambda row: row.comparison is None):
            colour, dash, shape = style_of(report, row)
            points = thin(bands[row.label], most)
            last = points[-1]
            with svg.group(data_v=row.number):
                if any(p.high > p.low for p in points):
                    svg.area([(x(p.step), y(p.low), y(p.high)) for p in points], colour)
                svg.polyline([(x(p.step), y(p.mean)) for p in points], colour, dash, 2 if dash else 2.4)
                if y.inside(last.mean):
                    svg.marker(shape, x(last.step), y(last.mean), 3.5, colour, f"{row.label}: {last.mean:.4g}")
    for row in shown:
        with svg.group(data_v=row.number):
            where = (places[row.label], ends[row.label], (top + 4, bottom))
            end_label(svg, right + 9, *where, row.number, style_of(report, row)[0])


def end_label(svg: Svg, x: float, y: float, wanted: float, room: tuple[float, float], number: int, colour: str) -> None:
    """A variant's number at the end of its line; the page's script places it anew when others are hidden."""
    more = {"data_y": wanted, "data_low": room[0], "data_high": room[1]}
    svg.text(x, y + 4, str(number), size=11, fill=colour, paint_order="stroke", stroke=PAPER, stroke_width=2, **more)


def _range(bands: Sequence[Sequence[Point]]) -> tuple[float, float]:
    """What the vertical axis must show: all but the first steps of every variant that ends near the others."""
    every = [points for points in bands if points]
    if not every:
        return 0.0, 1.0
    kept = core([points[-1].mean for points in every])
    tails = []
    for points in every:
        if points[-1].mean in kept:
            from_step = points[0].step + _START * (points[-1].step - points[0].step)
            tails += [p for p in points if p.step >= from_step]
    return min(p.low for p in tails), max(p.high for p in tails)
