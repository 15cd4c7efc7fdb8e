"""What a report is made of: titled sections of blocks, which `page` writes as HTML and `markdown` as Markdown."""

from dataclasses import dataclass, field

from transformer_jax.study.report.svg import Svg


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` is '', 'warning' or 'small'."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Bullets:
    """Sentences, each with the verdict that colours its edge, or ''."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figures:
    """Cards of (name, value, what it means)."""

    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Code:
    """Lines to be typed or read literally."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Attributes:
      text: as shown.
      sort: what the column is sorted by, a number or a text; None stays last.
      verdict: shows the text as a chip of this verdict's colour.
      note: a line beneath.
    """

    text: str
    sort: float | str | None = None
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells (or texts) under a header.

    Attributes:
      title: names it to those who do not see it; no two of a report are the same.
      left: columns of text; the others hold figures.
      wrapped: columns whose text may take several lines.
      sortable: by every column.
      marked: the row of the baseline.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    left: tuple[int, ...] = (0,)
    wrapped: tuple[int, ...] = ()
    sortable: bool = False
    marked: int | None = None

    def cell(self, row: int, column: int) -> Cell:
        found = self.rows[row][column]
        return found if isinstance(found, Cell) else Cell(found)


@dataclass(frozen=True)
class Picture:
    """A drawing with its file name; `narrow` is the same for a narrow screen."""

    name: str
    title: str
    caption: str
    wide: Svg
    narrow: Svg | None = None


@dataclass(frozen=True)
class Panels:
    """Small pictures side by side, as many as fit."""

    pictures: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True)
class Legend:
    """The variants as (number, label, colour, dash, marker), each of which can be shown or hidden in the pictures
    whose groups carry its number. A page that opens with many shows those in `first`."""

    name: str
    items: tuple[tuple[int, str, str, str, str], ...]
    first: frozenset[int]


@dataclass(frozen=True)
class Fold:
    """Blocks that open on demand."""

    summary: str
    blocks: tuple["Block", ...]
    open: bool = False


Block = Text | Bullets | Figures | Code | Table | Picture | Panels | Legend | Fold


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...] = field(default=())


def pictures(blocks: tuple[Block, ...]) -> list[Picture]:
    """Every picture in `blocks`, in order."""
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Panels):
            found += block.pictures
        elif isinstance(block, Fold):
            found += pictures(block.blocks)
    return found
