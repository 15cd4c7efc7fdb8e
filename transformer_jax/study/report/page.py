"""A report as one HTML page that needs nothing but itself. Everything that comes from a study is escaped."""

import math
from collections.abc import Sequence
from html import escape

from transformer_jax.study.report.content import (
    Block,
    Bullets,
    Cell,
    Code,
    Figures,
    Fold,
    Legend,
    Panels,
    Picture,
    Section,
    Table,
    Text,
)
from transformer_jax.study.report.style import CSS, NO_SCRIPT_CSS, POLICY, SCRIPT, VERDICTS, slug
from transformer_jax.study.report.svg import Svg

_SHORT = 12  # characters of a column's title that stay on one line
_LONG = 24  # characters of a label that needs a wide column in the legend


def html(name: str, question: str, verdict: str, opening: Sequence[Block], sections: Sequence[Section]) -> str:
    """index.html."""
    links = "".join(f'<li><a href="#{slug(each.title)}">{escape(each.title)}</a></li>' for each in sections)
    body = [
        f'<header><p class="name">{escape(name)}</p><h1>{escape(question)}</h1>',
        f'<p class="verdict">{escape(verdict)}</p>',
        *map(block, opening),
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>',
        *map(_section, sections),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: {escape(question)}</title><style>{CSS}</style>"
        f"<noscript><style>{NO_SCRIPT_CSS}</style></noscript></head>"
        f"<body><main>{chr(10).join(body)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def block(content: Block) -> str:
    """A block as HTML."""
    return _WRITERS[type(content)](content)


def _section(section: Section) -> str:
    inside = "".join(map(block, section.blocks))
    return f'<section><h2 id="{slug(section.title)}">{escape(section.title)}</h2>{inside}</section>'


def _text(text: Text) -> str:
    kind = f' class="{text.kind}"' if text.kind else ""
    return f"<p{kind}>{escape(text.text)}</p>"


def _bullets(bullets: Bullets) -> str:
    items = "".join(f'<li class="m-{slug(verdict)}">{escape(text)}</li>' for text, verdict in bullets.items)
    return f'<ul class="findings">{items}</ul>'


def _figures(figures: Figures) -> str:
    cards = "".join(
        f'<div><dt>{escape(name)}</dt><dd class="value">{escape(value)}</dd>'
        f'<dd class="meaning">{escape(meaning)}</dd></div>'
        for name, value, meaning in figures.items
    )
    return f'<dl class="figures">{cards}</dl>'


def _code(code: Code) -> str:
    return f"<pre>{escape(chr(10).join(code.lines))}</pre>"


def _table(table: Table) -> str:
    heads = "".join(_head(table, i, title) for i, title in enumerate(table.header))
    lines = []
    for i in range(len(table.rows)):
        marked = ' class="marked"' if i == table.marked else ""
        cells = "".join(_cell(table, i, j) for j in range(len(table.header)))
        lines.append(f"<tr{marked}>{cells}</tr>")
    return (
        f'<div class="region" role="region" tabindex="0" aria-label="{escape(table.title)}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _head(table: Table, column: int, title: str) -> str:
    if not title:
        return "<td></td>"
    names = [name for name, here in (("left", column in table.left), ("short", len(title) <= _SHORT)) if here]
    style = f' class="{" ".join(names)}"' if names else ""
    if not table.sortable:
        return f'<th scope="col"{style}>{escape(title)}</th>'
    return f'<th scope="col" aria-sort="none"{style}><button type="button">{escape(title)}</button></th>'


def _cell(table: Table, row: int, column: int) -> str:
    cell = table.cell(row, column)
    classes = " ".join(name for name, where in (("left", table.left), ("wrap", table.wrapped)) if column in where)
    tag, scope = ("th", ' scope="row"') if column == min(table.left, default=-1) else ("td", "")
    style = f' class="{classes}"' if classes else ""
    note = f"<small>{escape(cell.note)}</small>" if cell.note else ""
    sort = _sort(cell) if table.sortable else ""
    return f"<{tag}{scope}{style}{sort}>{_shown(cell)}{note}</{tag}>"


def _shown(cell: Cell) -> str:
    if not cell.verdict:
        return escape(cell.text)
    sign = VERDICTS.get(cell.verdict, ("", "", ""))[1]
    hidden = f'<span aria-hidden="true">{sign} </span>' if sign else ""
    return f'<span class="chip m-{slug(cell.verdict)}">{hidden}{escape(cell.text)}</span>'


def _sort(cell: Cell) -> str:
    if cell.sort is None or (isinstance(cell.sort, float) and math.isnan(cell.sort)):
        return ""
    if isinstance(cell.sort, str):
        return f' data-sort="{escape(cell.sort.lower())}"'
    return f' data-sort="{cell.sort:.9g}" data-kind="n"'


def _picture(picture: Picture) -> str:
    narrow = f'<div class="narrow">{picture.narrow.render()}</div>' if picture.narrow else ""
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    head = f"<h3>{escape(picture.title)}</h3>"
    return f'{head}<figure>{caption}{narrow}<div class="wide">{picture.wide.render()}</div></figure>'


def _panels(panels: Panels) -> str:
    caption = f'<p class="small">{escape(panels.caption)}</p>' if panels.caption else ""
    inside = "".join(f"<div>{_picture(picture)}</div>" for picture in panels.pictures)
    return f'{caption}<div class="panels">{inside}</div>'


def _legend(legend: Legend) -> str:
    items = []
    for number, label, colour, dash, shape in legend.items:
        first = " data-first" if number in legend.first else ""
        box = f'<input type="checkbox" checked data-v="{number}"{first}>'
        items.append(
            f"<li><label>{box}{_swatch(colour, dash, shape)}<span>{number} {escape(label)}</span></label></li>"
        )
    wide = " long" if max(len(label) for _, label, *_ in legend.items) > _LONG else ""
    some = f"Baseline and best {len(legend.first) - 1}" if len(legend.first) < len(legend.items) else ""
    choices = (("all", "Show all"), ("none", "Hide all"), ("first", some))
    tools = "".join(f'<button type="button" data-choose="{key}">{text}</button>' for key, text in choices if text)
    return (
        f'<fieldset class="legend{wide}"><legend>{escape(legend.name)}</legend><ul>{"".join(items)}</ul>'
        f'<div class="tools">{tools}</div></fieldset>'
    )


def _swatch(colour: str, dash: str, shape: str) -> str:
    svg = Svg("", 34, 14, "", "")
    svg.polyline([(1, 7), (33, 7)], colour, dash, 2.2)
    svg.marker(shape, 17, 7, 4, colour)
    return f'<svg aria-hidden="true" width="34" height="14" viewBox="0 0 34 14">{svg.inside()}</svg>'


def _fold(fold: Fold) -> str:
    opened = " open" if fold.open else ""
    inside = "".join(map(block, fold.blocks))
    return f"<details{opened}><summary>{escape(fold.summary)}</summary>{inside}</details>"


_WRITERS = {
    Text: _text,
    Bullets: _bullets,
    Figures: _figures,
    Code: _code,
    Table: _table,
    Picture: _picture,
    Panels: _panels,
    Legend: _legend,
    Fold: _fold,
}
