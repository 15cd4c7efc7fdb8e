"""The pictures, drawn by Altair and turned into SVG and PNG by vl-convert, without a browser or network."""

import importlib.util
import io
import math
import re
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer_jax.errors import UserError
from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.stats import BETTER, NOT_APPLICABLE, SAME, UNTESTED, WORSE

COLOURS = {
    BETTER: "#15803d",
    WORSE: "#c2410c",
    SAME: "#64748b",
    UNTESTED: "#a8a29e",
    NOT_APPLICABLE: "#8b7aa8",
    "baseline": "#1e293b",
}
_GREY, _BAND = "#94a3b8", "#e2e8f0"
_FAR = 6  # a variant this many times further out than the median one calls for a second, closer picture


@dataclass(frozen=True)
class Picture:
    """A chart with its file name, title and caption."""

    name: str
    title: str
    caption: str
    chart: Any

    def save_png(self, directory: Path) -> None:
        self.chart.save(directory / f"{self.name}.png", format="png", scale_factor=2)

    def svg(self) -> str:
        """For a page: without a namespace (HTML knows it), ids made unique to this picture."""
        text = io.StringIO()
        self.chart.save(text, format="svg")
        svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text.getvalue())
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", svg)


def require() -> None:
    """Raises UserError unless what draws the pictures is installed."""
    missing = [name for name in ("altair", "vl_convert") if not _installed(name)]
    if missing:
        raise UserError(f'a report needs {" and ".join(missing)}: pip install "transformer_jax[report]"')


def draw(report: Report) -> list[Picture]:
    """Every picture for which the study has data."""
    name, metric = words.metric_name(report), report.metric
    end = "left" if report.direction == "min" else "right"
    caption = (
        f"Paired difference to {report.baseline.label} with its {words.level(report)} interval; small dots "
        f"are the seeds; the band is the baseline's own sd over seeds; {end} of the line is better."
    )
    pictures = [Picture("differences", "Differences to the baseline", caption, intervals(report, None))]
    near = _near(report)
    if near:
        closer = "The same within a narrower range; a variant beyond it is named with its difference."
        pictures.append(Picture("differences_near", "Closer to the line", closer, intervals(report, near)))
    pictures.append(
        Picture(
            "cost",
            "What it costs",
            "Mean of the metric, speed and size; dashed: the baseline. Speeds hold for one machine only.",
            costs(report),
        )
    )
    band = "mean over seeds, band from the lowest to the highest"
    told = f"Each variant: {band}; grey: baseline."
    wanted = [
        ("gap", f"Difference in {name} while training", f"Paired by seed: {band}.", gaps(report, near)),
        ("curve", f"Learning curves: {name}", told, curves(report, metric)),
    ]
    if metric != "train/loss":
        wanted.append(("train", "Learning curves: training loss", told, curves(report, "train/loss")))
    return pictures + [Picture(*each) for each in wanted if each[-1] is not None]


def intervals(report: Report, limit: float | None) -> Any:
    """Forest plot: mean, interval and seeds per variant; the x axis runs from -limit to limit if given."""
    import altair as alt

    rows = [row for row in report.rows if row.comparison]
    labels = [row.label for row in rows]
    scale = alt.Scale(domain=[-limit, limit]) if limit else alt.Scale(zero=True, padding=12)
    title = f"difference in {words.metric_name(report)}"
    x = alt.X("x:Q", scale=scale, title=title)
    y = alt.Y("variant:N", sort=labels, title=None, scale=alt.Scale(domain=labels))
    colour = alt.Color("verdict:N", scale=_verdict_scale(alt), legend=None)
    # In the closer picture a variant whose mean lies outside is only named.
    shown = [row for row in rows if not limit or abs(_mean(row)) <= limit]
    marks = alt.Chart(alt.InlineData(values=[_mark(row) for row in shown])).encode(y=y, color=colour)
    dots = [
        {"variant": row.label, "verdict": row.verdict, "x": value}
        for row in shown
        if row.comparison.difference
        for value in row.comparison.difference.values.values()
    ]
    layers = [
        alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_rule(color="#0f172a").encode(x=x),
        marks.mark_rule(strokeWidth=2.5, clip=True).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        alt.Chart(alt.InlineData(values=dots))
        .mark_circle(size=22, opacity=0.45, clip=True)
        .encode(x=x, y=y, color=colour),
        marks.mark_point(filled=True, size=90, opacity=1, clip=True).encode(x=x),
    ]
    floor = report.noise_floor
    if not math.isnan(floor):
        band = alt.Chart(alt.InlineData(values=[{"x": -floor, "high": floor}]))
        layers.insert(0, band.mark_rect(color=_BAND, clip=True).encode(x=x, x2="high:Q"))
    beside = [{"variant": r.label, "verdict": r.verdict, "text": _beside(report, r, r not in shown)} for r in rows]
    text = (
        alt.Chart(alt.InlineData(values=beside))
        .mark_text(align="left", x=0, fontSize=12, limit=0)
        .encode(
            y=alt.Y("variant:N", sort=labels, axis=None, scale=alt.Scale(domain=labels)),
            text="text:N",
            color=colour,
        )
        .properties(width=10, height={"step": 26}, view=alt.ViewConfig(stroke=None))
    )
    main = alt.layer(*layers).properties(width=520, height={"step": 26})
    return _styled(alt, alt.hconcat(main, text, spacing=8).resolve_scale(y="independent"))


def costs(report: Report) -> Any:
    """Three dot plots with the variants in common: metric, tokens per second, parameters."""
    import altair as alt

    labels = [row.label for row in report.rows]
    panels = (
        (words.metric_name(report), {row.label: row.sample.mean for row in report.rows}),
        ("tokens/s, relative", {row.label: row.speed_ratio for row in report.rows}),
        ("parameters, relative", {row.label: row.parameters_ratio for row in report.rows}),
    )
    made = []
    for title, values in panels:
        points = [
            {"variant": row.label, "verdict": row.verdict, "x": values[row.label]}
            for row in report.rows
            if not math.isnan(values[row.label])
        ]
        axis = alt.Axis(labelLimit=0) if not made else alt.Axis(labels=False, ticks=False)
        y = alt.Y("variant:N", sort=labels, title=None, axis=axis, scale=alt.Scale(domain=labels))
        x = alt.X("x:Q", title=title, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=4))
        colour = alt.Color("verdict:N", scale=_verdict_scale(alt), legend=None)
        reference = [each for each in points if each["variant"] == report.baseline.label]
        rule = alt.Chart(alt.InlineData(values=reference)).mark_rule(color=_GREY, strokeDash=[4, 3]).encode(x=x)
        dots = alt.Chart(alt.InlineData(values=points)).mark_point(filled=True, size=80, opacity=1)
        layered = alt.layer(rule, dots.encode(x=x, y=y, color=colour))
        made.append(layered.properties(width=230, height={"step": 24}))
    return _styled(alt, alt.hconcat(*made, spacing=14))


def curves(report: Report, key: str) -> Any | None:
    """Small multiples of `key` against steps, a panel per variant; None if no run has logged it twice."""
    import altair as alt

    bands = {row.label: _band(list(_curves(report, row, key).values())) for row in report.rows}
    if all(len(band) < 2 for band in bands.values()):
        return None
    return _multiples(alt, report, bands, bands[report.baseline.label], alt.Scale(zero=False))


def gaps(report: Report, near: float | None) -> Any | None:
    """Small multiples of the paired difference to the baseline against steps; None without curves.

    Args:
      near: half-width of the closer picture, if there is one; panels then show that range.
    """
    import altair as alt

    theirs, bands = _curves(report, report.baseline, report.metric), {}
    for row in report.rows:
        if row.comparison:
            ours = _curves(report, row, report.metric)
            bands[row.label] = _band([_minus(ours[s], theirs[s]) for s in ours.keys() & theirs.keys()])
    steps = sorted({point["step"] for band in bands.values() for point in band})
    if len(steps) < 2:
        return None
    zero = [{"step": step, "mean": 0.0} for step in (steps[0], steps[-1])]
    scale = alt.Scale(domain=[-near, near]) if near else alt.Scale(zero=True)
    return _multiples(alt, report, bands, zero, scale)


def _multiples(alt: Any, report: Report, bands: dict, reference: list[dict], y_scale: Any) -> Any:
    """A panel per variant in `bands`, with the reference line in each."""
    panels = []
    x = alt.X("step:Q", title="updates", axis=alt.Axis(tickCount=4, grid=False))
    y = alt.Y("mean:Q", title=None, scale=y_scale, axis=alt.Axis(tickCount=5))
    low = alt.Y("low:Q", title=None, scale=y_scale)
    for row in report.rows:
        if row.label not in bands:
            continue
        own = alt.Chart(alt.InlineData(values=bands[row.label] or [{"step": None}]))
        colour = COLOURS[row.verdict]
        layers = [
            alt.Chart(alt.InlineData(values=reference or [{"step": None}]))
            .mark_line(color=_GREY, strokeWidth=1.5, clip=True)
            .encode(x=x, y=y),
            own.mark_area(color=colour, opacity=0.2, clip=True).encode(x=x, y=low, y2="high:Q"),
            own.mark_line(color=colour, strokeWidth=2, clip=True).encode(x=x, y=y),
        ]
        domain = y_scale.to_dict().get("domain")
        outside = domain and all(not domain[0] <= p["mean"] <= domain[1] for p in bands[row.label])
        label = f"{row.label} (beyond this range)" if outside else row.label
        title = alt.Title(textwrap.wrap(label, 38) or label, limit=0)
        panels.append(alt.layer(*layers).properties(width=250, height=130, title=title))
    return _styled(alt, alt.concat(*panels, columns=3, spacing=18).resolve_scale(x="shared", y="shared"))


def _curves(report: Report, row: Row, key: str) -> dict[int, dict[int, float]]:
    return {run.seed: run.curve(key) for run in report.runs if run.label == row.label}


def _minus(ours: dict[int, float], theirs: dict[int, float]) -> dict[int, float]:
    return {step: ours[step] - theirs[step] for step in sorted(ours.keys() & theirs.keys())}


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module whose spec is None has been blocked
        return False


def _mean(row: Row) -> float:
    found = row.comparison.difference
    return found.mean if found else 0.0


def _mark(row: Row) -> dict:
    found = row.comparison.difference
    mark = {"variant": row.label, "verdict": row.verdict, "x": found.mean if found else None}
    low, high = (found.low, found.high) if found and not math.isnan(found.low) else (None, None)
    return mark | {"low": low, "high": high}


def _beside(report: Report, row: Row, outside: bool) -> str:
    text = f"{row.verdict} ({row.lost})" if row.lost else row.verdict
    return f"{text}, {words.difference(report, row)}" if outside else text


def _near(report: Report) -> float | None:
    """The half-width of a closer picture, None if one picture shows every variant well."""
    reach = {}
    for row in report.rows:
        found = row.comparison.difference if row.comparison else None
        if found:
            ends = [abs(end) for end in (found.mean, found.low, found.high) if not math.isnan(end)]
            reach[row.label] = max(ends)
    typical = statistics.median(reach.values()) if reach else 0.0
    inside = [value for value in reach.values() if value <= _FAR * typical]
    return 1.08 * max(inside) if typical > 0 and len(inside) < len(reach) else None


def _band(runs: list[dict[int, float]]) -> list[dict]:
    """Mean, lowest and highest over runs at each step that any of them has, non-finite values left out."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for step, value in run.items():
            if math.isfinite(value):
                values.setdefault(step, []).append(value)
    return [
        {"step": step, "mean": statistics.fmean(vs), "low": min(vs), "high": max(vs)}
        for step, vs in sorted(values.items())
    ]


def _verdict_scale(alt: Any) -> Any:
    return alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))


def _styled(alt: Any, chart: Any) -> Any:
    font = "Helvetica, Arial, sans-serif"
    return (
        chart.configure(font=font, background="white")
        .configure_axis(labelLimit=0, labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#eef2f7")
        .configure_view(stroke="#cbd5e1")
        .configure_title(fontSize=12, fontWeight="normal", anchor="start")
    )
