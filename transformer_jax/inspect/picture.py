"""One picture of the heads: what each is worth, and the loss against the heads that are left."""

from pathlib import Path

import numpy as np

from transformer_jax.inspect.run import HeadReport

_COLOURS = {"importance": "#0072b2", "leave_one_out": "#d55e00", "random": "#94a3b8"}  # told apart by all eyes
_NAMES = {"importance": "by gradient importance", "leave_one_out": "by leaving one out", "random": "at random"}


def draw(report: HeadReport, path: Path, title: str) -> None:
    """Writes a PNG: importance by layer and head on the left, on the right loss against heads left."""
    import altair as alt

    places = sorted({(head.stack, head.sublayer) for head in report.importance})
    maps = [_heat_map(alt, report, *place) for place in places]
    chart = alt.hconcat(alt.vconcat(*maps), _curves(alt, report), spacing=30).properties(title=alt.Title(title))
    chart = chart.configure_view(stroke=None).configure(font="sans-serif", background="white")
    chart.save(path, format="png", scale_factor=2)


def _heat_map(alt, report: HeadReport, stack: str, sublayer: str):
    rows = [
        {"layer": head.layer, "head": head.head, "importance": value}
        for head, value in report.importance.items()
        if (head.stack, head.sublayer) == (stack, sublayer)
    ]
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect()
        .encode(
            x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:O", title="layer", sort="descending"),
            color=alt.Color("importance:Q", scale=alt.Scale(scheme="viridis"), title="importance"),
        )
        .properties(width={"step": 26}, height={"step": 26}, title=f"{stack}, {sublayer}")
    )


def _curves(alt, report: HeadReport):
    total = len(report.importance)
    rows = []
    for name, several in report.curves.items():
        losses_RN = np.array(several)
        for removed in range(total + 1):
            column = losses_RN[:, removed]
            ends = {"low": float(column.min()), "high": float(column.max())}
            rows.append({"left": total - removed, "loss": float(column.mean()), "removed": _NAMES[name], **ends})
    scale = alt.Scale(domain=[_NAMES[name] for name in _COLOURS], range=list(_COLOURS.values()))
    colour = alt.Color("removed:N", scale=scale, title="heads removed")
    x = alt.X("left:Q", title="heads left", scale=alt.Scale(reverse=True, nice=False))
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.25, line=False).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=2).encode(
        y=alt.Y("loss:Q", title="loss, nats per target", scale=alt.Scale(zero=False))
    )
    return alt.layer(band, line).properties(width=460, height=300, title="loss against heads left")
