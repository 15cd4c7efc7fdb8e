"""The pictures of docs/growth.md."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.growth import AXES, CORES, PARTS, Found, by_model
from benchmarks.growth_table import seconds

_SHORT = "datum.value < 1024 ? datum.value : datum.value / 1024 + 'k'"


def draw(part: str, found: Sequence[Found], folder: Path) -> list[str]:
    """The picture of a part, `growth_PART.png`; its name, in a list. Nothing for a part that has none."""
    if part not in _PANELS:
        return []
    import altair as alt

    lines = list(_PANELS[part](found))
    panels = [_panel(alt, title, x, y, [row for row in lines if row["panel"] == (title, x, y)]) for title, x, y in
              dict.fromkeys(row["panel"] for row in lines)]  # fmt: skip
    columns = 3 if len(panels) % 3 == 0 else 2
    chart = alt.concat(*panels, columns=columns).resolve_scale(color="shared", strokeDash="shared")
    path = folder / f"growth_{part}.png"
    chart.configure(font="sans-serif", background="white").save(path, format="png", scale_factor=2)
    return [path.name]


def _panel(alt, title: str, x: str, y: str, lines: list[dict]):
    sizes = sorted({row["x"] for row in lines})
    values = [{key: value for key, value in row.items() if key != "panel"} for row in lines]
    base = alt.Chart(alt.InlineData(values=values), title=title).encode(
        x=alt.X("x:Q", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=sizes, labelExpr=_SHORT), title=x),
        y=alt.Y("y:Q", scale=alt.Scale(type="log", nice=False, padding=12), title=y),
        color=alt.Color("model:N", title=None, sort=None, scale=alt.Scale(scheme="dark2")),
    )
    line, marks = base.mark_line(), base.mark_point(filled=True, size=35)
    if any("cores" in row for row in lines):
        line = line.encode(strokeDash=alt.StrokeDash("cores:N", title="cores"))
    spread = base.mark_rule(strokeWidth=1).encode(y="low:Q", y2="high:Q") if "low" in lines[0] else None
    layers = [line, marks] if spread is None else [line, marks, spread]
    return alt.layer(*layers).properties(width=270, height=230)


def _length(found) -> Iterator[dict]:
    for _, own in by_model(found, "length"):
        yield from _times(own, "Time of an update", "length", 1e3, "milliseconds")
        yield from _known(own, "Memory", "length", "temporary", 2**-20, "MiB of temporaries")
        yield from _known(own, "Parameters", "length", "parameters", 1, "parameters")


def _sizes(found) -> Iterator[dict]:
    for axis in PARTS["sizes"]:
        for _, own in by_model(found, axis):
            yield from _times(own, f"Time against {AXES[axis].key}", axis, 1e3, "milliseconds of an update")


def _cores(found) -> Iterator[dict]:
    for cores in CORES:
        for _, own in by_model(found, "cores", cores):
            for row in _times(own, "Time per token", "length", 1e6, "microseconds", lambda one: one.point.size):
                yield row | {"cores": str(cores)}
    many = {(one.point.model, one.point.size): one for one in found if one.point.cores == CORES[1]}
    for one in found:
        other = many.get((one.point.model, one.point.size))
        if one.point.cores == CORES[0] and one.seconds and other is not None and other.seconds:
            ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
            row = _row(one, "What a second core brings", "length", "time of 1 core / time of 2 cores")
            yield row | {"y": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    for _, own in by_model(found, "cores", CORES[0]):
        yield from _known(own, "Operations that wait for one another", "length", "in_a_row", 1, "in a row")


def _times(
    own: Sequence[Found], title: str, x: str, unit: float, y: str, by: Callable[[Found], float] = lambda one: 1
) -> Iterator[dict]:
    for one in own:
        if one.seconds:
            middle, low, high = (unit * value / by(one) for value in (seconds(one), min(one.seconds), max(one.seconds)))
            yield _row(one, title, x, y) | {"y": middle, "low": low, "high": high}


def _known(own: Sequence[Found], title: str, x: str, name: str, unit: float, y: str) -> Iterator[dict]:
    for one in own:
        yield _row(one, title, x, y) | {"y": unit * one.known[name]}


def _row(one: Found, title: str, x: str, y: str) -> dict:
    return {"panel": (title, x, y), "x": one.point.size, "model": one.point.model}


_PANELS = {"length": _length, "sizes": _sizes, "cores": _cores}
