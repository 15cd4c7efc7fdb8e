"""`write_report`: from a study's directory to tables, pictures and one page that says what was found.

Read in this order: collect (the figures), words (the same in words), content (blocks), sections (which blocks, in which
order), page and markdown (how blocks are written).
"""

from pathlib import Path

from transformer_jax.errors import UserError
from transformer_jax.files import check_links
from transformer_jax.study.report import charts, words
from transformer_jax.study.report.collect import Report, Row, collect
from transformer_jax.study.report.content import pictures
from transformer_jax.study.report.latex import tex
from transformer_jax.study.report.markdown import markdown
from transformer_jax.study.report.page import html
from transformer_jax.study.report.sections import opening, sections
from transformer_jax.study.report.tables import terminal_table, write_comparisons, write_results

__all__ = ["Report", "Row", "collect", "terminal_table", "write_report"]


def write_report(directory: Path | str) -> Report:
    """Reads the study in `directory` and writes `directory/report/`.

    Written are index.html (self-contained), report.md with its PNGs, comparisons.csv (a row per metric and variant),
    results.csv (a row per run) and table.tex. Only the study's directory is read.

    Raises:
      UserError: if there is no study, no finished run yet, or the `report` extra is not installed.
    """
    charts.require("vl_convert")
    report = collect(directory)
    out = report.directory / "report"
    if out.is_symlink():
        raise UserError(f"{out} is a link: nothing is written where it leads to; remove it")
    out.mkdir(exist_ok=True)
    check_links(out)
    write_results(report, out / "results.csv")
    write_comparisons(report, out / "comparisons.csv")
    (out / "table.tex").write_text(tex(report))
    said = (report.declaration["name"], report.declaration["question"], words.headline(report))
    top, body = opening(report), sections(report)
    for picture in pictures(tuple(block for section in body for block in section.blocks)):
        charts.save_png(picture, out)
    (out / "report.md").write_text(markdown(*said, top, body))
    (out / "index.html").write_text(html(*said, top, body))
    return report
