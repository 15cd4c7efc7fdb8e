"""A report as Markdown: the same blocks as the page, its pictures as files beside it."""

import re
from collections.abc import Sequence

from transformer_jax.errors import printable
from transformer_jax.study.report.content import (
    Block,
    Bullets,
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

_READ = re.compile(r"[<>&|*`\[\]\\#~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # x_1 is no emphasis


def markdown(name: str, question: str, verdict: str, opening: Sequence[Block], sections: Sequence[Section]) -> str:
    """report.md; pictures are linked by file name."""
    parts = [f"# {safe(name)}", f"**{safe(question)}**", safe(verdict), *map(_block, opening)]
    for section in sections:
        parts += [f"## {safe(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def safe(text: str) -> str:
    """Text in which nothing is read as Markdown or HTML."""
    return _READ.sub(lambda match: f"&#{ord(match[0])};", " ".join(printable(text).split()))


def _block(block: Block) -> str:
    return _WRITERS[type(block)](block)


def _text(text: Text) -> str:
    return f"> **Note:** {safe(text.text)}" if text.kind == "warning" else safe(text.text)


def _table(table: Table) -> str:
    header = [safe(title) for title in table.header]
    aligned = [":---" if i in table.left else "---:" for i in range(len(header))]
    lines = [header, aligned]
    for i in range(len(table.rows)):
        cells = [table.cell(i, j) for j in range(len(header))]
        lines.append([safe(cell.text + (f": {cell.note}" if cell.note else "")) for cell in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _figures(figures: Figures) -> str:
    return _table(Table("", ("figure", "value", "meaning"), figures.items, (0, 2)))


def _code(code: Code) -> str:
    return "\n".join(f"    {line}" for line in " \n".join(code.lines).splitlines())


def _picture(picture: Picture) -> str:
    caption = f"\n\n{safe(picture.caption)}" if picture.caption else ""
    return f"### {safe(picture.title)}\n\n![{safe(picture.title)}]({picture.name}.png){caption}"


def _panels(panels: Panels) -> str:
    return "\n\n".join(filter(None, [safe(panels.caption), *map(_picture, panels.pictures)]))


def _fold(fold: Fold) -> str:
    return "\n\n".join([f"{safe(fold.summary)}:", *map(_block, fold.blocks)])


_WRITERS = {
    Text: _text,
    Bullets: lambda bullets: "\n".join(f"- {safe(text)}" for text, _ in bullets.items),
    Figures: _figures,
    Code: _code,
    Table: _table,
    Picture: _picture,
    Panels: _panels,
    Legend: lambda legend: "",
    Fold: _fold,
}
