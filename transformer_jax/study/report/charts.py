"""The pictures of differences and of what they cost."""

import importlib.util
import math
import statistics
from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.report.content import Panels, Picture
from transformer_jax.study.report.style import VERDICTS
from transformer_jax.study.report.svg import BAND, INK, PAPER, SOFT, Scale, Svg, fit, short, text_width

_GAP = 8
_FAR = 6  # a variant this many times further out than the median one calls for a second, closer picture
COSTS = (
    ("parameters", "parameters", "size"),
    ("flops_per_token", "FLOPs per token", "computation"),
    ("tokens_per_second", "tokens per second", "speed"),
    ("memory_bytes", "bytes of memory", "memory"),
)


def require(*names: str) -> None:
    """Raises UserError unless what draws the pictures is installed: all of it, or the modules named."""
    missing = [name for name in names or ("altair", "vl_convert") if not _installed(name)]
    if missing:
        raise UserError(f'a report needs {" and ".join(missing)}: pip install "transformer_jax[report]"')


def save_png(picture: Picture, directory: Path) -> None:
    """`directory/NAME.png`, at twice the size."""
    import vl_convert

    png = vl_convert.svg_to_png(picture.wide.render(alone=True), scale=2)
    (directory / f"{picture.name}.png").write_bytes(png)


def differences(report: Report, name: str = "differences") -> list[Picture]:
    """Every variant's difference to the baseline with its interval, and a closer picture where one is needed."""
    end = "Left" if report.direction == "min" else "Right"
    caption = (
        f"Paired difference to {report.baseline.label} with its {words.level(report)} interval; small dots are the "
        f"seeds; the grey band is the noise floor, the baseline's own sd over seeds. {end} of the line is better. "
        "Marks: " + ", ".join(f"{sign} {verdict}" for verdict, sign in _signs(report)) + "."
    )
    if report.margin:
        caption += f" Dashed: the margin of ±{report.margin:g}, within which differences do not matter."
    made = [_intervals(report, name, "All variants", caption, None)]
    near = nearness(report)
    if near:
        told = "The same within a narrower range; an arrow points to what lies beyond it."
        made.append(_intervals(report, f"{name}_near", "Closer to the line", told, near))
    return made


def costs(report: Report) -> Panels | None:
    """Quality against parameters, FLOPs, speed and memory, as far as the runs recorded them."""
    made = [_cost(report, *each) for each in COSTS]
    made = [picture for picture in made if picture]
    caption = (
        f"{words.metric_name(report)}, mean over seeds, ± its standard deviation; {words.direction(report)}. "
        "Numbers are those of the table; the dashed lines go through the baseline. Speed and memory are those of the "
        "whole compiled program and hold for one machine."
    )
    return Panels(tuple(made), caption[0].upper() + caption[1:]) if made else None


def nearness(report: Report) -> float | None:
    """The half-width of a closer picture, None if one picture shows every variant well."""
    reach = {}
    for row in report.rows:
        found = row.comparison.difference if row.comparison else None
        if found:
            reach[row.label] = max(abs(end) for end in (found.mean, found.low, found.high) if not math.isnan(end))
    typical = statistics.median(reach.values()) if reach else 0.0
    inside = [value for value in reach.values() if value <= _FAR * typical]
    return 1.08 * max(inside) if typical > 0 and len(inside) < len(reach) else None


def _intervals(report: Report, name: str, title: str, caption: str, limit: float | None) -> Picture:
    told = "; ".join(f"{row.label}: {words.difference(report, row)}, {row.verdict}" for row in _compared(report))
    named = f"Differences in {words.metric_name(report)} to the baseline: {title.lower()}"
    wide, narrow = Svg(name, 960, 0, named, told), Svg(f"{name}-narrow", 340, 0, named, told)
    _forest(wide, report, limit, stacked=False)
    _forest(narrow, report, limit, stacked=True)
    return Picture(name, title, caption, wide, narrow)


def _forest(svg: Svg, report: Report, limit: float | None, *, stacked: bool) -> None:
    """A line per variant; `stacked` puts its name above it instead of beside it."""
    rows = _compared(report)
    step, top = (44 if stacked else 25), 8
    bottom = svg.height = top + step * len(rows) + 4
    svg.height += 40
    labels = [f"{row.number}  {row.label}" for row in rows]
    left = 10 if stacked else min(320, 16 + max(text_width(text, 13) for text in labels))
    right = svg.width - (10 if stacked else 20 + max(text_width(_beside(report, row), 13) for row in rows))
    scale = _difference_scale(report, rows, left, right, limit)
    floor = report.noise_floor
    if not math.isnan(floor):
        a, b = (scale(max(scale.low, min(scale.high, end))) for end in (-floor, floor))
        svg.rect(a, top, b - a, bottom - top, BAND, "noise floor")
    svg.x_axis(scale, top, bottom, f"difference in {words.metric_name(report)}", 4 if stacked else 7)
    for end in (-report.margin, report.margin) if report.margin else ():
        if scale.inside(end):
            svg.line(scale(end), top, scale(end), bottom, SOFT, stroke_dasharray="4 3")
    svg.line(scale(0), top, scale(0), bottom, INK, 1.2)
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = top + step * i + (32 if stacked else 13)
        colour = VERDICTS[row.verdict][0]
        if stacked:
            value = f"{words.difference(report, row)} {VERDICTS[row.verdict][1]}"
            halo = {"paint_order": "stroke", "stroke": PAPER, "stroke_width": 3}
            size = 12 * min(1, (right - left - text_width(value) - 8) / text_width(label))
            svg.text(left, y - 15, label, size=size, **halo)
            svg.text(right, y - 15, value, anchor="end", **halo | {"fill": colour})
        else:
            size = 13 * min(1, (left - 14) / text_width(label, 13))
            svg.text(left - 10, y + 4, label, size=size, anchor="end")
            svg.text(right + 10, y + 4, _beside(report, row), size=13, fill=colour)
        _mark(svg, report, row, scale, y, colour)


def _mark(svg: Svg, report: Report, row: Row, scale: Scale, y: float, colour: str) -> None:
    found = row.comparison.difference
    if found is None:
        return
    said = f"{row.label}: {words.difference(report, row)} ({words.interval(report, row)}), {row.verdict}"
    if not scale.inside(found.mean):
        at, turn = (scale.end - 6, 1) if found.mean > 0 else (scale.start + 6, -1)
        arrow = f"M{at - 8 * turn:.1f} {y - 6:.1f}L{at:.1f} {y:.1f}L{at - 8 * turn:.1f} {y + 6:.1f}"
        svg.tag("path", d=arrow, fill="none", stroke=colour, stroke_width=2.5)
        return
    if not math.isnan(found.low):
        ends = [scale(max(scale.low, min(scale.high, end))) for end in (found.low, found.high)]
        svg.line(ends[0], y, ends[1], y, colour, 2.6)
    for value in found.values.values():
        if scale.inside(value):
            svg.marker("circle", scale(value), y, 2.4, colour, fill_opacity=0.45)
    svg.marker(VERDICTS[row.verdict][2], scale(found.mean), y, 5, colour, said)


def _difference_scale(report: Report, rows: list[Row], start: float, end: float, limit: float | None) -> Scale:
    if limit:
        return Scale(-limit, limit, start, end)
    ends = [0.0, *([-report.margin, report.margin] if report.margin else [])]
    for row in rows:
        found = row.comparison.difference
        if found:
            ends += [found.mean, found.low, found.high, *found.values.values()]
    if not math.isnan(report.noise_floor):
        ends += [-report.noise_floor, report.noise_floor]
    return fit(ends, start, end, pad=0.04)


def _cost(report: Report, key: str, title: str, name: str) -> Picture | None:
    points = [row for row in report.rows if getattr(row.cost, key) is not None and not math.isnan(row.sample.mean)]
    found = {row.label: float(getattr(row.cost, key)) for row in points}
    if not found:
        return None
    told = "; ".join(
        f"{row.number} {row.label}: {short(found[row.label])}, {words.mean_sd(report, row)}" for row in points
    )
    svg = Svg(f"cost_{name}", 290, 280, f"{words.metric_name(report)} against {title}", told)
    spread = max(found.values()) / max(min(found.values()), 1e-300)
    x = fit(found.values(), 56, 278, pad=0.08, log=spread > 8)
    ends = [row.sample.mean + sign * (row.sample.sd if row.sample.sd > 0 else 0) for row in points for sign in (-1, 1)]
    y = fit(core(ends), 228, 34, pad=0.06)
    svg.x_axis(x, 30, 232, title + (" (log)" if x.log else ""), 3)
    svg.y_axis(y, 52, 284, words.metric_name(report))
    base = report.baseline
    taken = [(x(found[row.label]) - 5, y(row.sample.mean) - 5, 10.0, 10.0) for row in points]
    with svg.clip(52, 24, 238, 210):
        if base in points:
            svg.line(x(found[base.label]), 30, x(found[base.label]), 232, SOFT, stroke_dasharray="4 3")
            svg.line(52, y(base.sample.mean), 284, y(base.sample.mean), SOFT, stroke_dasharray="4 3")
        for row in points:
            at, colour = x(found[row.label]), VERDICTS[row.verdict][0]
            mean = max(y.low, min(y.high, row.sample.mean))
            if row.sample.sd > 0 and mean == row.sample.mean:
                svg.line(at, y(mean - row.sample.sd), at, y(mean + row.sample.sd), colour, 1.4, stroke_opacity=0.6)
            said = f"{row.number} {row.label}: {short(found[row.label])} {title}, {words.mean_sd(report, row)}"
            svg.marker(VERDICTS[row.verdict][2], at, y(mean), 4.5, colour, said)
            beyond = "" if mean == row.sample.mean else " ↑" if row.sample.mean > mean else " ↓"
            text = f"{row.number}{beyond}"
            px, py = _free(taken, at, y(mean), text_width(text, 11))
            svg.text(px, py, text, size=11, paint_order="stroke", stroke=PAPER, stroke_width=2.5, fill=colour)
    if len(set(found.values())) == 1:
        svg.text(180, 20, "the same for all variants", size=11, anchor="middle", fill=SOFT)
    return Picture(f"cost_{name}", title[0].upper() + title[1:], "", svg)


def _free(taken: list[tuple[float, float, float, float]], x: float, y: float, width: float) -> tuple[float, float]:
    """Where beside a mark a text covers the fewest others; the place is then taken too."""

    def covered(place: tuple[float, float]) -> int:
        left, base = place
        outside = 3 * (left < 54 or left + width > 286)
        return outside + sum(
            left < a + w and a < left + width and base - 9 < b + h and b < base for a, b, w, h in taken
        )

    sides = ((x + 7, y - 4), (x - 7 - width, y - 4), (x + 7, y + 12), (x - 7 - width, y + 12), (x - width / 2, y - 9))
    best = min(sides, key=covered)
    taken.append((best[0], best[1] - 9, width, 9))
    return best


def core(values: list[float]) -> list[float]:
    """The values without those that would squeeze most of the others into a corner of the picture.

    Those are given up that lie beyond a gap of `_GAP` times the range of the others, if these are more than half.
    """
    kept = sorted(values)
    while len(kept) > 2:
        cut = max(range(1, len(kept)), key=lambda i: kept[i] - kept[i - 1])
        larger = max(kept[:cut], kept[cut:], key=len)
        spread = larger[-1] - larger[0]
        if len(larger) <= len(values) / 2 or not spread or kept[cut] - kept[cut - 1] <= _GAP * spread:
            break
        kept = larger
    return [value for value in values if kept[0] <= value <= kept[-1]]


def _compared(report: Report) -> list[Row]:
    return [row for row in report.rows if row.comparison]


def _signs(report: Report) -> list[tuple[str, str]]:
    present = {row.verdict for row in _compared(report)}
    return [(verdict, sign) for verdict, (_, sign, _) in VERDICTS.items() if verdict in present]


def _beside(report: Report, row: Row) -> str:
    lost = f" ({row.lost})" if row.lost else ""
    return f"{words.difference(report, row)} {row.verdict}{lost}"


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module whose spec is None has been blocked
        return False
