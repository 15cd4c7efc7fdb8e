"""Products of factors: heat maps of their means, and which of them matter."""

import math

from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report, factors
from transformer_jax.study.report.content import Block, Bullets, Cell, Fold, Panels, Picture, Table, Text
from transformer_jax.study.report.svg import INK, PAPER, SOFT, Svg, text_width
from transformer_jax.study.stats import Factorial

_BETTER, _WORSE = (0, 89, 140), (190, 82, 0)


def blocks(report: Report) -> tuple[Block, ...]:
    """Nothing unless the grid is a full product."""
    found = factors(report)
    if found is None:
        return ()
    maps = tuple(_heat_map(report, *pair, cells) for pair, cells in found.cells.items())
    caption = (
        f"Mean {words.metric_name(report)} of each combination, over the seeds and the levels of further factors. Blue "
        "is better than the average of the picture, orange worse, the more the darker."
    )
    note = [Text(f"{found.reason[0].upper()}{found.reason[1:]}.", "warning")] if found.reason else []
    if found.left_out:
        note.append(Text(f"{found.left_out} runs without a value are left out here.", "small"))
    return (*note, *_effects(found), *([Panels(maps, caption)] if maps else []), *_levels(report, found))


def name_of(factor: str) -> str:
    """A factor without the sections of its keys: 'heads', 'width and ffn_size'."""
    return " and ".join(key.rpartition(".")[2] for key in factor.split(", "))


def _effects(found: Factorial) -> tuple[Block, ...]:
    if not found.effects:
        return ()
    said, rows = [], []
    for effect in found.effects:
        title = " × ".join(map(name_of, effect.terms))
        alone = len(effect.terms) == 1
        if effect.significant:
            text = "matters, averaged over the other factors" if alone else "the effect of one depends on the other"
        else:
            text = "no effect shown" if alone else "no interaction shown"
        said.append((f"{title}: {text} (p {words.p_value(effect.p_corrected)}).", ""))
        rows.append(
            (
                Cell(title, title),
                Cell(str(effect.df), effect.df),
                Cell(f"{effect.f:.2f}", effect.f),
                Cell(words.p_value(effect.p), effect.p),
                Cell(words.p_value(effect.p_corrected), effect.p_corrected),
                Cell(f"{effect.partial_eta_squared:.3f}", effect.partial_eta_squared),
            )
        )
    header = ("effect", "df", "F", "p", "p (Holm)", "partial η²")
    table = Table("Factorial analysis of variance", header, tuple(rows), sortable=True)
    note = (
        f"Analysis of variance over {found.used} runs with the seed as a block, type II sums of squares, "
        f"{found.residual_df} residual degrees of freedom; p-values corrected over the effects of this table (Holm)."
    )
    return Bullets(tuple(said)), table, Text(note, "small")


def _levels(report: Report, found: Factorial) -> tuple[Block, ...]:
    rows = tuple(
        (
            Cell(name_of(factor), name_of(factor)),
            Cell(level, level),
            Cell(words.number(of.mean, report.decimals), of.mean),
            Cell(words.number(of.se, report.decimals), of.se),
        )
        for factor, levels in found.marginal.items()
        for level, of in levels.items()
    )
    if not rows:
        return ()
    header = ("factor", "level", f"mean {words.metric_name(report)}", "standard error")
    table = Table("Means of each factor's levels", header, rows, left=(0, 1), sortable=True)
    return (Fold("Means of each factor's levels, averaged over the other factors", (table,)),)


def _heat_map(report: Report, one: str, other: str, cells: dict[tuple[str, str], float]) -> Picture:
    rows, columns = (list(dict.fromkeys(pair[i] for pair in cells)) for i in (0, 1))
    rows, columns = _sorted(rows), _sorted(columns)
    flip = len(columns) > len(rows)
    if flip:
        rows, columns, one, other = columns, rows, other, one
    known = [mean for mean in cells.values() if math.isfinite(mean)]
    middle = sum(known) / len(known) if known else 0.0
    reach = max((abs(mean - middle) for mean in known), default=0.0)
    title = f"{name_of(one)} × {name_of(other)}"
    said = []
    wide = min(130, max(62, *(text_width(text) + 12 for text in columns)))
    left = min(170, 20 + max(text_width(text) for text in [*rows, name_of(one)]))
    svg = Svg(f"factors_{_plain(one)}_{_plain(other)}", left + wide * len(columns) + 8, 58 + 34 * len(rows), title, "")
    svg.text(left + wide * len(columns) / 2, 16, name_of(other), anchor="middle", fill=SOFT)
    svg.text(left - 10, 40, name_of(one), anchor="end", fill=SOFT)
    for j, column in enumerate(columns):
        _fitted(svg, left + wide * (j + 0.5), 40, column, wide - 6, "middle")
    for i, row in enumerate(rows):
        y = 50 + 34 * i
        _fitted(svg, left - 10, y + 21, row, left - 14, "end")
        for j, column in enumerate(columns):
            mean = cells[(column, row) if flip else (row, column)]
            share = (mean - middle) / reach if reach else 0.0
            fill, ink = _colour(-share if report.direction == "min" else share)
            shown = words.number(mean, report.decimals)
            said.append(f"{row}, {column}: {shown}")
            svg.rect(left + wide * j + 1, y, wide - 2, 32, fill, said[-1])
            svg.text(left + wide * (j + 0.5), y + 21, shown, anchor="middle", fill=ink)
    svg.description = "; ".join(said)
    return Picture(svg.name, title, "", svg)


def _sorted(levels: list[str]) -> list[str]:
    """Numbers by size; other levels as they were declared."""
    try:
        return sorted(levels, key=float)
    except ValueError:
        return levels


def _colour(share: float) -> tuple[str, str]:
    """Of a cell, and of the text in it, for -1 (worst) to 1 (best)."""
    if not math.isfinite(share):
        return "#f0f3f6", SOFT
    strong = 0.85 * abs(share)
    mixed = [round(255 + strong * (c - 255)) for c in (_BETTER if share > 0 else _WORSE)]
    return "#" + "".join(f"{c:02x}" for c in mixed), (PAPER if _luminance(mixed) < 0.18 else INK)


def _luminance(rgb: list[int]) -> float:
    """Relative luminance as WCAG 2 defines it; black and white text stand out alike at 0.18."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _fitted(svg: Svg, x: float, y: float, text: str, room: float, anchor: str) -> None:
    """Text in `room` pixels, made smaller if it must be, and cut where even that is too long."""
    size = max(9.0, min(12.0, 12 * room / text_width(text))) if text else 12
    while text_width(text, size) > room and len(text) > 2:
        text = text[:-2] + "…"
    svg.text(x, y, text, size=size, anchor=anchor)


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name_of(text))
