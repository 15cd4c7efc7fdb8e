"""The report from top to bottom: what stands in it, and in which order."""

from transformer_jax.study.report import charts, curves, factors, fairness, lengths, words
from transformer_jax.study.report.collect import Report
from transformer_jax.study.report.content import Block, Bullets, Cell, Figures, Fold, Section, Table, Text
from transformer_jax.study.report.variants import table

_SHORT = 10  # findings in words that stand open


def opening(report: Report) -> tuple[Block, ...]:
    """What a reader must know beside the verdict."""
    warnings = (Text(warning, "warning") for warning in words.warnings(report))
    return (*warnings, Figures(tuple(words.key_figures(report))))


def sections(report: Report) -> list[Section]:
    """Every section that the study has something for."""
    costs = charts.costs(report)
    made = [
        Section("Differences to the baseline", tuple(charts.differences(report))),
        Section("The variants", _variants(report)),
        Section("Claims put to the test", _claims(report)),
        *(Section(f"Secondary metric: {goal.metric}", _secondary(goal)) for goal in report.also),
        Section("Factors and their interactions", factors.blocks(report)),
        Section("What it costs", (costs,) if costs else ()),
        Section("Learning curves", curves.blocks(report)),
        Section("By test set and length", lengths.blocks(report)),
        Section("Runs that diverged", fairness.lost(report)),
        Section("Budget", fairness.budget(report)),
        Section("Tuning", fairness.tuning(report)),
        Section("In what the variants differ", fairness.differences(report)),
        Section("What was held equal", fairness.equal(report)),
        Section("Every run", fairness.runs(report)),
        Section("To run it again", fairness.again(report)),
    ]
    return [section for section in made if section.blocks]


def _variants(report: Report) -> tuple[Block, ...]:
    alpha = report.declaration["alpha"]
    note = (
        f"{words.intervals(report)} The chance that this study calls any variant better or worse that is neither is at "
        f"most {alpha:g}. In brackets: relative to the baseline."
    )
    family = (Text(words.family(report), "small"),) if report.also else ()
    return (
        Text(words.findings(report)),
        table(report, "The variants"),
        Text(note, "small"),
        *(Text(text, "small") for text in words.side_notes(report)),
        *family,
        _in_words(report),
    )


def _in_words(report: Report) -> Block:
    said = Bullets(tuple((words.sentence(report, row), row.verdict) for row in report.rows))
    return Fold("The same in words", (said,), len(report.rows) <= _SHORT)


def _secondary(report: Report) -> tuple[Block, ...]:
    told = f"{words.direction(report).capitalize()}. {words.findings(report)}"
    return Text(told), table(report, f"The variants on {report.metric}"), _in_words(report)


def _claims(report: Report) -> tuple[Block, ...]:
    rows = tuple(
        (
            Cell(str(each.claim), str(each.claim)),
            Cell(each.outcome, each.outcome, verdict=each.outcome),
            Cell(each.sentence, each.outcome),
            Cell(each.claim.source, each.claim.source),
        )
        for each in report.analysis.claims
    )
    if not rows:
        return ()
    note = (
        "'A > B' claims that A is better, 'A = B' that they differ by no more than the margin. Undecided: these runs "
        "show neither the claim nor its opposite. The p-values belong to the study's own Holm family."
    )
    header = ("claim", "outcome", "why", "source")
    return Table("Claims", header, rows, (0, 1, 2, 3), (0, 2, 3), True), Text(note, "small")
