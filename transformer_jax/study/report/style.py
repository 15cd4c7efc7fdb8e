"""The style sheet and the script of the page. The page allows itself these two and nothing else."""

import base64
import hashlib

# Colours stand at least 4.5:1 on the paper behind them; each verdict has a sign beside its colour.
VERDICTS = {
    "better": ("#00598c", "▲", "up"),
    "worse": ("#a84300", "▼", "down"),
    "equivalent": ("#00664d", "=", "square"),
    "not distinguishable": ("#57606a", "●", "circle"),
    "not tested": ("#7a5c00", "?", "cross"),
    "not applicable": ("#6b4c7d", "–", "plus"),
    "baseline": ("#1b2430", "■", "diamond"),
    "confirmed": ("#00598c", "✓", "up"),
    "refuted": ("#a84300", "✗", "down"),
    "undecided": ("#57606a", "○", "circle"),
}


def slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower())


def digest(text: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_MARKS = "\n".join(f".m-{slug(verdict)} {{ --mark: {colour}; }}" for verdict, (colour, _, _) in VERDICTS.items())
CSS = (
    """
:root { --ink: #1b2430; --soft: #57606a; --line: #d5dbe3; --paper: #ffffff; --mark: #57606a; color-scheme: light; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #f0f3f6; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: break-word; }
main { max-width: 1320px; margin: 0 auto; padding: 40px 36px 72px; background: var(--paper); }
p.name { margin: 0; color: var(--soft); font-size: 14px; letter-spacing: .03em; }
h1 { margin: 4px 0 14px; font-size: 29px; line-height: 1.22; text-wrap: balance; }
h2 { margin: 48px 0 10px; font-size: 21px; line-height: 1.3; }
h3 { margin: 20px 0 4px; font-size: 15px; }
p.verdict { font-size: 19px; line-height: 1.45; margin: 0 0 18px; padding: 14px 18px; background: #eef4f8;
  border-left: 5px solid #00598c; border-radius: 0 8px 8px 0; }
p.small, figcaption { color: var(--soft); font-size: 14px; margin: 6px 0 10px; max-width: 86ch; }
p.warning { background: #fff6ea; border-left: 5px solid #a84300; padding: 10px 14px; margin: 10px 0; }
nav { margin: 22px 0 0; font-size: 14px; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 0; list-style: none; }
a { color: #00598c; }
:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; border-radius: 3px; }
dl.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; margin: 22px 0; }
dl.figures div { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
dl.figures dt, dl.figures dd.meaning { font-size: 13px; color: var(--soft); line-height: 1.35; }
dl.figures dd { margin: 0; } dl.figures dd.value { font-size: 21px; font-weight: 600; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
ul.findings { padding: 0; list-style: none; margin: 8px 0; }
ul.findings li { padding: 2px 0 2px 14px; border-left: 5px solid var(--mark); margin: 9px 0; font-size: 15px; }
.region { overflow-x: auto; margin: 10px 0; background: linear-gradient(90deg, #fff 30%, #fff0) 0 0 / 40px 100% local,
  linear-gradient(270deg, #fff 30%, #fff0) 100% 0 / 40px 100% local,
  linear-gradient(90deg, #0003, #0000) 0 0 / 12px 100% scroll, linear-gradient(270deg, #0003, #0000) 100% 0 / 12px 100%
  scroll; background-repeat: no-repeat; }
table { border-collapse: collapse; min-width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 9px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
  vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; color: var(--soft); vertical-align: bottom; white-space: normal; min-width: 78px; }
.left { text-align: left; }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper); }
thead th.short { min-width: 0; white-space: nowrap; }
td.wrap, th.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 15ch; }
tr.marked th, tr.marked td { background: #f0f3f6; }
td small { display: block; color: var(--soft); white-space: normal; font-size: 12.5px; min-width: 26ch; }
th button { font: inherit; color: inherit; text-align: inherit; background: none; border: 0; padding: 2px;
  margin: -2px; cursor: pointer; }
th button::after { content: "\\a0↕"; color: #6e7781; }
th[aria-sort=ascending] button::after { content: "\\a0↑"; color: #00598c; }
th[aria-sort=descending] button::after { content: "\\a0↓"; color: #00598c; }
.chip { display: inline-block; padding: 0 9px; border-radius: 99px; color: #fff; background: var(--mark);
  font-size: 13px; line-height: 1.6; white-space: nowrap; }
figure { margin: 8px 0 20px; } figure svg { display: block; max-width: 100%; height: auto; }
figure .narrow { display: none; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 282px), 1fr)); gap: 6px 12px; }
.panels figure { margin: 0; }
fieldset.legend { border: 1px solid var(--line); border-radius: 8px; padding: 8px 14px 10px; margin: 10px 0; }
fieldset.legend legend { font-size: 14px; color: var(--soft); padding: 0 6px; }
fieldset.legend ul { list-style: none; display: grid; gap: 2px 16px; margin: 4px 0; padding: 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 220px), 1fr)); }
fieldset.long ul { grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
fieldset.legend label { display: inline-flex; align-items: center; gap: 6px; font-size: 13.5px; min-height: 26px;
  overflow-wrap: anywhere; cursor: pointer; }
fieldset.legend input { width: 17px; height: 17px; margin: 0; flex: none; accent-color: #00598c; }
fieldset.legend svg { flex: none; }
fieldset.legend button { font: inherit; font-size: 13.5px; padding: 3px 12px; margin: 2px 6px 2px 0; cursor: pointer;
  border: 1px solid #8b95a1; border-radius: 6px; background: #f6f8fa; color: var(--ink); }
.off { display: none; }
details { margin: 12px 0; } summary { cursor: pointer; padding: 3px 0; }
pre { margin: 6px 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.55 ui-monospace, Menlo, Consolas,
  monospace; background: #f6f8fa; padding: 8px 12px; border-radius: 6px; }
@media (max-width: 760px) {
  tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 11ch; max-width: 36vw; }
  main { padding: 22px 14px 48px; } h1 { font-size: 23px; } h2 { margin-top: 38px; font-size: 19px; }
  p.verdict { font-size: 17px; padding: 12px 14px; } dl.figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  figure .narrow { display: block; } figure .narrow ~ .wide { display: none; }
}
@media print {
  @page { margin: 14mm; size: A4 landscape; }
  body { background: #fff; font-size: 11pt; } main { max-width: none; padding: 0; }
  nav, .tools { display: none; } th button::after { content: ""; }
  figure .narrow { display: none; } figure .narrow ~ .wide { display: block; }
  .region { overflow: visible; background: none; } table { font-size: 7.5pt; } th, td { padding: 3px 4px; }
  td small, .chip { font-size: 7.5pt; } .chip { padding: 0 6px; }
  thead th, tbody th, td.left { white-space: normal; min-width: 0; } tbody th { position: static; }
  thead { display: table-header-group; } thead, tr, figure, li, dl.figures div { break-inside: avoid; }
  h2, h3 { break-after: avoid; } details::details-content { content-visibility: visible; display: block; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
    + _MARKS
)

# For a reader whose browser runs no scripts: nothing that looks as if it could be pressed.
NO_SCRIPT_CSS = (
    "th button { cursor: text; pointer-events: none; } th button::after { content: ''; }"
    " .tools, fieldset.legend input { display: none; }"
)

SCRIPT = """
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const order = (a, b, up) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
  };
  all('th[aria-sort] button').forEach(button => button.addEventListener('click', () => {
    const head = button.closest('th'), table = head.closest('table'), body = table.tBodies[0];
    const up = head.getAttribute('aria-sort') !== 'ascending';
    const key = row => {
      const { sort, kind } = row.cells[head.cellIndex].dataset;
      return sort === undefined ? null : kind === 'n' ? Number(sort) : sort;
    };
    all('th[aria-sort]', table).forEach(each => each.setAttribute('aria-sort', 'none'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    [...body.rows].sort((a, b) => order(key(a), key(b), up)).forEach(row => body.append(row));
  }));
  const show = (variant, on) => {
    all('input[data-v="' + variant + '"]').forEach(box => { box.checked = on; });
    all('g[data-v="' + variant + '"]').forEach(group => group.classList.toggle('off', !on));
  };
  const settle = () => all('svg').forEach(svg => {
    const ends = all('text[data-y]', svg).filter(text => !text.closest('.off'));
    if (!ends.length) return;
    const low = Number(ends[0].dataset.low), high = Number(ends[0].dataset.high);
    const gap = Math.min(11, (high - low) / ends.length);
    ends.sort((a, b) => a.dataset.y - b.dataset.y);
    let at = low - gap, ceiling = high + gap;
    const places = ends.map(text => (at = Math.max(Number(text.dataset.y), at + gap)));
    ends.reverse().forEach((text, i) => {
      ceiling = Math.min(places[ends.length - 1 - i], ceiling - gap);
      text.setAttribute('y', ceiling + 4);
    });
  });
  const boxes = all('fieldset.legend input');
  boxes.forEach(box => box.addEventListener('change', () => {
    show(box.dataset.v, box.checked);
    settle();
  }));
  const choose = { all: () => true, none: () => false, first: box => box.hasAttribute('data-first') };
  const apply = which => {
    boxes.forEach(box => show(box.dataset.v, choose[which](box)));
    settle();
  };
  all('button[data-choose]').forEach(button => button.addEventListener('click', () => apply(button.dataset.choose)));
  if (boxes.length) apply('first');
  let opened = [];
  addEventListener('beforeprint', () => {
    opened = all('details:not([open])');
    opened.forEach(each => { each.open = true; });
  });
  addEventListener('afterprint', () => opened.forEach(each => { each.open = false; }));
})();
"""

POLICY = (
    f"default-src 'none'; script-src {digest(SCRIPT)}; style-src {digest(CSS)} {digest(NO_SCRIPT_CSS)}; "
    "base-uri 'none'; form-action 'none'"
)
