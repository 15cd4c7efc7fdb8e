"""Numbers and findings in words; every output says them the same way."""

import math

from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.stats import BETTER, EQUIVALENT, NOT_APPLICABLE, SAME, UNTESTED, WORSE

_TESTS = {"t": "paired t-tests", "sign_flip": "exact sign-flip permutation tests"}


def intervals(report: Report) -> str:
    """What the intervals and the p-values are."""
    test = _TESTS[report.declaration.get("test", "t")]
    return (
        "Intervals are t intervals of each paired difference by itself, not widened for the number of them; verdicts "
        f"rest on the Holm-corrected p-values of {test}."
    )


def number(value: float, decimals: int, *, sign: bool = False) -> str:
    """`value` with that many decimals, a dash if unknown."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−")


def p_value(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f} ×"


def metric_name(report: Report) -> str:
    """The metric without the split if that is the usual one: 'loss', but '2x exact match'."""
    return report.metric.removeprefix("valid/").replace("/", " ").replace("_", " ")


def direction(report: Report) -> str:
    return "lower is better" if report.direction == "min" else "higher is better"


def level(report: Report) -> str:
    return f"{100 * (1 - report.declaration['alpha']):g} %"


def mean_sd(report: Report, row: Row) -> str:
    mean = number(row.sample.mean, report.decimals)
    return mean if math.isnan(row.sample.sd) else f"{mean} ± {number(row.sample.sd, report.decimals)}"


def interval(report: Report, row: Row) -> str:
    found = row.comparison.difference if row.comparison else None
    if found is None or math.isnan(found.low):
        return "–"
    return " to ".join(number(end, report.decimals, sign=True) for end in (found.low, found.high))


def bootstrap(report: Report, row: Row) -> str:
    found = row.comparison.difference if row.comparison else None
    if found is None or math.isnan(found.boot_low):
        return "–"
    return " to ".join(number(end, report.decimals, sign=True) for end in (found.boot_low, found.boot_high))


def difference(report: Report, row: Row) -> str:
    found = row.comparison.difference if row.comparison else None
    return number(found.mean, report.decimals, sign=True) if found else "–"


def family(report: Report) -> str:
    """Over what the p-values are corrected, where more than one metric is compared."""
    names = ", ".join(goal.metric for goal in report.also)
    return (
        f"p-values are corrected by Holm's method over all {report.tests} tests of the study together, on the primary "
        f"metric ({report.metric}) and the secondary ones ({names})."
    )


def inapplicable(report: Report) -> list[str]:
    """The variants that the metric does not apply to, with the reason, a line each."""
    return [f"{row.label}: not applicable: {row.inapplicable}" for row in report.rows if row.inapplicable]


def cells(report: Report, row: Row) -> list[str]:
    """One line of the table of variants, under `HEADER`."""
    return [
        row.label,
        mean_sd(report, row),
        difference(report, row),
        interval(report, row),
        p_value(row.comparison.p_corrected) if row.comparison else "–",
        row.verdict + (f" ({row.lost})" if row.lost else ""),
        f"{row.parameters:,.0f}" if row.parameters is not None else "–",
        ratio(row.speed_ratio),
    ]


def header(report: Report) -> list[str]:
    return [
        "variant",
        f"{metric_name(report)}, mean ± sd",
        "difference",
        f"{level(report)} interval",
        "p (Holm)",
        "verdict",
        "parameters",
        "tokens/s",
    ]


def sentence(report: Report, row: Row) -> str:
    """What was found of one variant."""
    c, base, name = row.comparison, report.baseline.label, metric_name(report)
    lost = f" {row.lost[0].upper()}{row.lost[1:]}; the figures are over the others." if row.lost else ""
    if c is None:
        spread = f" over {row.sample.n} seeds" if row.sample.n > 1 else ""
        return f"{row.label} is the baseline: {name} {mean_sd(report, row)}{spread}.{lost}"
    if c.verdict == NOT_APPLICABLE:
        return f"{name} is not applicable to {row.label}: {c.reason}.{lost}"
    if c.verdict == UNTESTED:
        shown = f" ({difference(report, row)})" if c.difference else ""
        return f"{row.label} was not tested: {c.reason}{shown}.{lost}"
    pairs = f"{len(c.difference.values)} pairs"
    figures = (
        f"{name} {difference(report, row)} ({level(report)} interval {interval(report, row)}, "
        f"corrected p {_equals(c.p_corrected)}, {pairs})"
    )
    said = {
        BETTER: f"{row.label} is better than {base}: {figures}.",
        WORSE: f"{row.label} is worse than {base}: {figures}.",
        SAME: f"{row.label} cannot be told from {base}: {figures}.",
        EQUIVALENT: f"{row.label} is equivalent to {base}: {figures}.",
    }[c.verdict]
    if c.reason:
        said += f" It is {c.reason}."
    elif c.verdict == SAME:
        said += f" A true difference below about {number(c.detectable, report.decimals)} could well be missed."
    return said + lost + _cost(row)


def headline(report: Report) -> str:
    """The verdict on the primary metric in one sentence, as a reader would quote it."""
    rows = [row for row in report.rows if row.comparison]
    finished = report.count("finished")
    partial = (
        f"So far, with {finished} of {len(report.runs)} runs: "
        if finished + report.count("diverged") < len(report.runs)
        else ""
    )
    if len(rows) == 1:
        return partial + sentence(report, rows[0]).removesuffix(_cost(rows[0]))
    of = {verdict: [row for row in rows if row.verdict == verdict] for verdict in {row.verdict for row in rows}}
    base, name = report.baseline.label, metric_name(report)
    better = sorted(of.pop(BETTER, []), key=lambda row: row.sample.mean, reverse=report.direction == "max")
    if better:
        best = better[0]
        start = f"{best.label} is better than {base} ({name} {difference(report, best)}, {level(report)} interval "
        start += f"{interval(report, best)})"
        more = len(better) - 1
        start += f", and so {'is' if more == 1 else 'are'} {more} more of {len(rows)} variants" if more else ""
        if not of:
            return f"{partial}{start}."
        start += "; of the others, " if len(better) == 1 else "; "
    elif set(of) == {SAME}:
        none = "none" if partial else "None"
        return f"{partial}{none} of the {len(rows)} variants can be told from {base} on {name}{_missed(report)}."
    else:
        start = f"no variant is better than {base} on {name}: of {len(rows)}, "
    said = {
        WORSE: "{} worse",
        EQUIVALENT: f"{{}} equivalent to it (within ±{report.margin:g})" if report.margin else "{} equivalent",
        SAME: f"{{}} not distinguishable from it{_missed(report)}",
        UNTESTED: "{} not tested",
        NOT_APPLICABLE: "{} not applicable",
    }
    parts = [said[v].format(f"{len(of[v])} {'is' if len(of[v]) == 1 else 'are'}") for v in said if v in of]
    text = f"{partial}{start}{', '.join(parts)}."
    return text if better or partial else text[0].upper() + text[1:]


def _missed(report: Report) -> str:
    if math.isnan(report.detectable):
        return ""
    return f" (true differences below about {number(report.detectable, report.decimals)} could well be missed)"


def findings(report: Report) -> str:
    """How many variants got each verdict, in a line."""
    verdicts = [row.verdict for row in report.rows if row.comparison]
    kinds = (BETTER, WORSE, EQUIVALENT, SAME, UNTESTED, NOT_APPLICABLE)
    parts = [f"{verdicts.count(v)} {v}" for v in kinds if v in verdicts]
    return f"Of {len(verdicts)} variants: " + ", ".join(parts) + "."


def warnings(report: Report) -> list[str]:
    """What a reader must know before believing a figure."""
    said = []
    counts = {status: report.count(status) for status in ("diverged", "failed", "interrupted", "missing")}
    absent = [f"{count} {status}" for status, count in counts.items() if count]
    if absent:
        said.append(f"{report.count('finished')} of {len(report.runs)} runs finished; " + ", ".join(absent) + ".")
    for each in report.declaration["amendments"]:
        known = each["results_known"]
        said.append(
            f"Added on {each['when']}, when {known} results were known: {', '.join(each['added'])}. "
            "Runs added in the light of results make false findings likelier than alpha."
        )
    return said


def side_notes(report: Report) -> list[str]:
    """What must be known of the columns of the big table."""
    said = [
        "The p-values of the sign-flip test are of each comparison alone, not corrected; it takes nothing for granted "
        "but that a difference could as well have had the other sign. The bootstrap interval resamples the seeds; "
        "with few of them it is too narrow, and it decides nothing."
    ]
    if report.margin:
        said.append(
            f"Equivalence: whether the difference was shown to lie within the declared margin of ±{report.margin:g} "
            "(two one-sided t-tests, Holm-corrected in a family of their own)."
        )
    members = {row.cost.members or 1 for row in report.rows if row.cost.tokens_per_second is not None}
    if len(members) > 1:
        said.append(
            f"Variants were trained {' or '.join(f'{m:g}' for m in sorted(members))} runs at once: tokens per second "
            "and memory are those of the whole program, and not comparable between them."
        )
    elif members and members != {1}:
        said.append(f"Tokens per second and memory are those of a program that trained {members.pop():g} runs at once.")
    return said


def key_figures(report: Report) -> list[tuple[str, str, str]]:
    """(name, value, what it means)."""
    d = report.declaration
    secondary = [
        ("secondary metric", metric_name(goal), f"{goal.metric}, {direction(goal)}; declared before the runs")
        for goal in report.also
    ]
    outcomes = [each.outcome for each in report.analysis.claims]
    told = ", ".join(f"{outcomes.count(each)} {each}" for each in ("refuted", "undecided") if each in outcomes)
    told = "of the literature, declared before the runs" + (f"; {told}" if told else "")
    claims = [("claims confirmed", f"{outcomes.count('confirmed')} / {len(outcomes)}", told)] if outcomes else []
    return [
        (
            "primary metric",
            metric_name(report),
            f"{report.metric}, {direction(report)}; declared before the runs",
        ),
        *secondary,
        *claims,
        (
            "runs",
            f"{report.count('finished')} / {len(report.runs)}",
            f"{len(d['seeds'])} seeds of each variant",
        ),
        ("noise floor", number(report.noise_floor, report.decimals), "sd of the baseline over its seeds"),
        (
            "detectable effect",
            number(report.detectable, report.decimals),
            "true difference found with 80 % power (median over variants)",
        ),
    ]


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"=\u00a0{p_value(p)}"


def _cost(row: Row) -> str:
    parts = []
    if not math.isnan(row.parameters_ratio) and abs(row.parameters_ratio - 1) >= 0.005:
        parts.append(f"{ratio(row.parameters_ratio)} the parameters")
    alike = row.cost.members == row.base_cost.members
    if alike and not math.isnan(row.speed_ratio) and abs(row.speed_ratio - 1) >= 0.05:
        parts.append(f"{ratio(row.speed_ratio)} the tokens per second")
    return f" It has {' and '.join(parts)}." if parts else ""
