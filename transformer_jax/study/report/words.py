"""Numbers and findings in words; every output says them the same way."""

import json
import math

from transformer_jax.study.report.collect import Report, Row
from transformer_jax.study.stats import BETTER, NOT_APPLICABLE, SAME, UNTESTED, WORSE

INTERVALS = (
    "Intervals are t intervals of each paired difference by itself, not widened for the number of them;"
    " verdicts rest on the Holm-corrected p-values."
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
    }[c.verdict]
    if c.reason:
        said += f" It is {c.reason}."
    elif c.verdict == SAME:
        said += f" A true difference below about {number(c.detectable, report.decimals)} could well be missed."
    return said + lost + _cost(row)


def findings(report: Report) -> str:
    """How many variants got each verdict, in a line."""
    verdicts = [row.verdict for row in report.rows if row.comparison]
    kinds = (BETTER, WORSE, SAME, UNTESTED, NOT_APPLICABLE)
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


def key_figures(report: Report) -> list[tuple[str, str, str]]:
    """(name, value, what it means)."""
    d = report.declaration
    secondary = [
        ("secondary metric", metric_name(goal), f"{goal.metric}, {direction(goal)}; declared before the runs")
        for goal in report.also
    ]
    return [
        (
            "primary metric",
            metric_name(report),
            f"{report.metric}, {direction(report)}; declared before the runs",
        ),
        *secondary,
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


def how_to_rerun(report: Report) -> list[str]:
    """Command, seeds and versions, a line each."""
    d = report.declaration
    command = d["command"] or "not recorded; each run's config.json is complete"
    lines = [f"command: {command}", f"seeds: {', '.join(map(str, d['seeds']))}", f"declared: {d['declared']}"]
    manifests = [run.directory / "manifest.json" for run in report.runs]
    found = next((path for path in manifests if path.is_file()), None)
    if found:
        for key, value in json.loads(found.read_text()).items():
            if key in ("versions", "devices", "platform", "python", "device", "mesh"):
                lines.append(f"{key}: {_plain(value)}")
    return lines


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"=\u00a0{p_value(p)}"


def _cost(row: Row) -> str:
    parts = []
    if not math.isnan(row.parameters_ratio) and abs(row.parameters_ratio - 1) >= 0.005:
        parts.append(f"{ratio(row.parameters_ratio)} the parameters")
    if not math.isnan(row.speed_ratio) and abs(row.speed_ratio - 1) >= 0.05:
        parts.append(f"{ratio(row.speed_ratio)} the tokens per second")
    return f" It has {' and '.join(parts)}." if parts else ""
