"""`write_report`: from a study's directory to tables, pictures and one page that says what was found."""

from pathlib import Path

from transformer_jax.study.report import charts, page, tables
from transformer_jax.study.report.collect import Report, Row, collect
from transformer_jax.study.report.tables import terminal_table

__all__ = ["Report", "Row", "collect", "terminal_table", "write_report"]


def write_report(directory: Path | str) -> Report:
    """Reads the study in `directory` and writes `directory/report/`.

    Written are index.html (self-contained), report.md with its PNGs, comparisons.csv (a row per variant) and
    results.csv (a row per run). Only the study's directory is read.

    Raises:
      UserError: if there is no study, no finished run yet, or the `report` extra is not installed.
    """
    charts.require()
    report = collect(directory)
    out = report.directory / "report"
    out.mkdir(exist_ok=True)
    tables.write_results(report, out / "results.csv")
    tables.write_comparisons(report, out / "comparisons.csv")
    pictures = charts.draw(report)
    for picture in pictures:
        picture.save_png(out)
    (out / "report.md").write_text(tables.markdown(report, pictures))
    (out / "index.html").write_text(page.html(report, pictures))
    return report
