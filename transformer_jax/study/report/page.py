"""The report as one HTML page that needs nothing but itself."""

from html import escape

from transformer_jax.study.report import words
from transformer_jax.study.report.charts import COLOURS, Picture
from transformer_jax.study.report.collect import Report, Row, differing, held_equal

_CSS = """
:root { --ink: #0f172a; --soft: #475569; --line: #e2e8f0; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f1f5f9; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 32px 72px; background: var(--paper); }
header p.name { margin: 0; color: var(--soft); font-size: 14px; letter-spacing: .04em; }
h1 { margin: 4px 0 18px; font-size: 28px; line-height: 1.25; text-wrap: balance; }
h2 { margin: 44px 0 10px; font-size: 20px; }
p.caption, p.small { color: var(--soft); font-size: 14px; margin: 6px 0 12px; }
.warning { background: #fff7ed; border-left: 4px solid #c2410c; padding: 10px 14px; margin: 10px 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px;
  margin: 22px 0; }
.figures div { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.figures b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.figures span { font-size: 13px; color: var(--soft); display: block; line-height: 1.35; }
ul.findings { padding-left: 0; list-style: none; margin: 8px 0; }
ul.findings li { padding: 3px 0 3px 14px; border-left: 4px solid var(--mark); margin: 8px 0;
  font-size: 15px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 8px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, td.left, th.left { text-align: left; }
tr.baseline td { background: #f8fafc; }
td.wrap { white-space: normal; overflow-wrap: anywhere; }
.chip { display: inline-block; padding: 1px 9px; border-radius: 99px; color: white; background: var(--mark);
  font-size: 13px; }
figure { margin: 0; } figure svg { max-width: 100%; height: auto; }
details { margin: 12px 0; } summary { cursor: pointer; }
code { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media print { body { background: white; } main { padding: 0; } }
"""
# The page may load nothing at all: no scripts, no fonts, no images from elsewhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(report: Report, pictures: list[Picture]) -> str:
    """index.html. Everything that comes from configs, labels or errors is escaped."""
    name, question = escape(report.declaration["name"]), escape(report.declaration["question"])
    body = [
        f'<header><p class="name">{name}</p><h1>{question}</h1></header>',
        *(f'<p class="warning">{escape(warning)}</p>' for warning in words.warnings(report)),
        f"<p>{escape(words.findings(report))}</p>",
        _figures(report),
        *(_picture(each) for each in pictures if each.name.startswith("differences")),
        "<h2>The variants</h2>",
        _variants(report),
        f'<p class="small">{escape(words.INTERVALS)} The chance that this study calls any variant better '
        f"or worse that is neither is at most {report.declaration['alpha']:g}. Tokens per second are "
        "relative to the baseline.</p>",
        "<h2>In words</h2>",
        _findings(report),
        *(_secondary(goal) for goal in report.also),
        *([f'<p class="small">{escape(words.family(report))}</p>'] if report.also else []),
        *(_picture(each) for each in pictures if not each.name.startswith("differences")),
        "<h2>In what the variants differ</h2>",
        _differing(report),
        "<h2>What was held equal</h2>",
        _held_equal(report),
        "<h2>Every run</h2>",
        _runs(report),
        "<h2>To run it again</h2>",
        "".join(f"<p><code>{escape(line)}</code></p>" for line in words.how_to_rerun(report)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{_CSS}</style></head><body><main>" + "\n".join(body) + "</main></body></html>\n"
    )


def _secondary(report: Report) -> str:
    """What was found on one secondary metric."""
    said = f"<p>{escape(words.direction(report).capitalize())}. {escape(words.findings(report))}</p>"
    return f"<h2>Secondary metric: {escape(report.metric)}</h2>{said}{_variants(report)}{_findings(report)}"


def _figures(report: Report) -> str:
    cards = (
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(meaning)}</span></div>"
        for name, value, meaning in words.key_figures(report)
    )
    return f'<div class="figures">{"".join(cards)}</div>'


def _findings(report: Report) -> str:
    items = (
        f'<li style="--mark: {COLOURS[row.verdict]}">{escape(words.sentence(report, row))}</li>' for row in report.rows
    )
    return f'<ul class="findings">{"".join(items)}</ul>'


def _variants(report: Report) -> str:
    left = (0, 5)
    heads = "".join(
        f'<th class="left">{escape(cell)}</th>' if i in left else f"<th>{escape(cell)}</th>"
        for i, cell in enumerate(words.header(report))
    )
    lines = "".join(_line(report, row) for row in report.rows)
    return f'<div class="wide"><table><tr>{heads}</tr>{lines}</table></div>'


def _line(report: Report, row: Row) -> str:
    cells = [f"<td>{escape(cell)}</td>" for cell in words.cells(report, row)]
    beside = "".join(f"<br>{escape(text)}" for text in (row.lost, row.inapplicable) if text)
    chip = f'<span class="chip" style="--mark: {COLOURS[row.verdict]}">{escape(row.verdict)}</span>'
    cells[5] = f'<td class="left{" wrap" if row.inapplicable else ""}">{chip}{beside}</td>'
    return f'<tr class="{"variant" if row.comparison else "baseline"}">{"".join(cells)}</tr>'


def _picture(picture: Picture) -> str:
    return (
        f"<h2>{escape(picture.title)}</h2><p class='caption'>{escape(picture.caption)}</p>"
        f"<figure>{picture.svg()}</figure>"
    )


def _differing(report: Report) -> str:
    varied = differing(report)
    base = report.baseline.label
    rows = []
    for row in report.rows:
        own = (f"{key} = {by[row.label]!r}" for key, by in varied.items() if by[row.label] != by[base])
        text = "the base config of the study" if row.comparison is None else ", ".join(own)
        rows.append([row.label, text or "nothing"])
    note = f"Keys that differ from {base}; those not named are as there."
    return f'<p class="caption">{escape(note)}</p>' + _plain_table(["variant", "keys"], rows)


def _held_equal(report: Report) -> str:
    equal = held_equal(report)
    told = {
        "updates": equal.get("train.steps"),
        "rows per update": equal.get("data.batch_size"),
        "tokens per row": equal.get("data.length"),
        "data": equal.get("data.corpus"),
        "tokenizer": equal.get("data.tokenizer"),
        "peak learning rate": equal.get("optim.learning_rate"),
        "schedule": equal.get("optim.schedule"),
    }
    short = [[name, str(value)] for name, value in told.items() if value is not None]
    table = _plain_table(["key", "value"], [[key, str(value)] for key, value in equal.items()])
    return (
        _plain_table(["", ""], short)
        + "<p class='caption'>Run i of every variant has the same seed, hence the same batches in order.</p>"
        + f"<details><summary>All {len(equal)} keys that every variant shares</summary>{table}</details>"
    )


def _runs(report: Report) -> str:
    rows = []
    for run in report.runs:
        value = run.value(report.metric)
        absent = run.not_applicable(report.metric) or run.problem or "–"
        shown = words.number(value, report.decimals) if value is not None else absent
        rows.append([run.label, f"seed {run.seed}, {run.status}: {shown}"])
    bad = any(run.status != "finished" for run in report.runs)
    attribute = " open" if bad else ""
    return f"<details{attribute}><summary>{len(rows)} runs</summary>{_plain_table(['', ''], rows)}</details>"


def _plain_table(header: list[str], rows: list[list[str]]) -> str:
    heads = "".join(f'<th class="left">{escape(cell)}</th>' for cell in header) if any(header) else ""
    lines = (
        f"<tr><td>{escape(row[0])}</td>" + "".join(f'<td class="left wrap">{escape(c)}</td>' for c in row[1:]) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{heads}</tr>{''.join(lines)}</table>" if heads else f"<table>{''.join(lines)}</table>"
