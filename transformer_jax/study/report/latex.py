"""The table of variants for a paper."""

from transformer_jax.errors import printable
from transformer_jax.study.report import words
from transformer_jax.study.report.collect import Report

_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after a line's end \\ it would be read as a length
    "]": "{]}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "\u00a0": "~",
}


def tex(report: Report) -> str:
    """table.tex: a table per metric, to be read with \\input; needs booktabs and a Unicode engine or T1 fonts."""
    head = r"% \usepackage{booktabs} and \usepackage[T1]{fontenc}; the widest column may need \small or \resizebox."
    return "\n\n".join([head, *(_table(goal) for goal in report.goals)]) + "\n"


def escape(text: str) -> str:
    """Text in which LaTeX reads nothing as a command."""
    return "".join(_SIGNS.get(c, c) for c in printable(" ".join(text.splitlines())))


def _table(report: Report) -> str:
    header = " & ".join(escape(cell) for cell in words.header(report))
    lines = [" & ".join(escape(cell) for cell in words.cells(report, row)) + r" \\" for row in report.rows]
    d = report.declaration
    caption = (
        f"{d['question']} {report.metric}, {words.direction(report)}; mean ± standard deviation over seeds, paired "
        f"differences to {report.baseline.label} with {words.level(report)} t intervals; p-values corrected over "
        f"{report.tests} tests (Holm)."
    )
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            r"  \begin{tabular}{lrrrrlrr}",
            r"    \toprule",
            rf"    {header} \\",
            r"    \midrule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )
