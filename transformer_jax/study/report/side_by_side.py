"""Two studies that were not planned together, as text for a terminal and as Markdown."""

import math
from pathlib import Path
from statistics import median

from transformer_jax.study.cross import CrossComparison, Match, tested
from transformer_jax.study.report import words
from transformer_jax.study.report.content import Bullets, Section, Table, Text
from transformer_jax.study.report.markdown import markdown
from transformer_jax.study.sides import EQUAL

_HEADER = ("A", "B", "matched by", "metric", "mean of A", "mean of B", "B − A", "interval", "p (Holm)", "verdict on B")
_LEFT = (0, 1, 2, 3, 9)


def comparison_text(found: CrossComparison) -> str:
    """For a terminal."""
    lines = [*_titles(found), "", headline(found), ""]
    unequal, equal = _facts(found)
    lines += [*_columns(("", "A", "B", ""), unequal, (0, 1, 2, 3)), ""] if unequal else []
    lines += [f"Equal in both: {equal}.", ""] if equal else []
    lines += [*_columns(_HEADER, _rows(found), _LEFT), "", _how(found), ""]
    lines += [f"- {note}" for note in _notes(found)]
    lines += [f"- {note}" for note in _config_notes(found)]
    return "\n".join(lines)


def write_comparison(found: CrossComparison, path: Path | str) -> Path:
    """Writes the comparison as Markdown to `path`, and returns it."""
    unequal, equal = _facts(found)
    facts = Table("Facts", ("what", "A", "B", ""), tuple(map(tuple, unequal)), (0, 1, 2, 3))
    variants = Table("Variants", _HEADER, tuple(map(tuple, _rows(found))), _LEFT)
    configs = tuple((line, "") for line in _config_notes(found))
    sections = [
        Section("What is and what is not equal", (*([facts] if unequal else []), Text(f"Equal in both: {equal}."))),
        Section("The variants that both have", (variants, Text(_how(found)))),
        Section("What a reader must know", (Bullets(tuple((note, "") for note in _notes(found))),)),
        Section("In what the configs differ", (Bullets(configs) if configs else Text("In nothing but the seed."),)),
    ]
    a, b = _titles(found)
    text = markdown("Two studies compared", f"{a}; {b}", headline(found), (), sections)
    path = Path(path)
    path.write_text(text)
    return path


def headline(found: CrossComparison) -> str:
    """In a sentence: how many verdicts of each kind."""
    verdicts = [match.verdict for match in found.matches]
    if not verdicts:
        return "The studies have no metric in common that either declares: nothing can be compared."
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in dict.fromkeys(verdicts))
    pairs = len({(match.a, match.b) for match in found.matches})
    return (
        f"{pairs} variants in both studies, {len(verdicts)} comparisons of B with A: {counts}. Nobody declared them "
        "before the runs: they suggest what to test, and prove nothing."
    )


def _titles(found: CrossComparison) -> tuple[str, str]:
    a, b = (f"{s.name}: {s.declaration['name']} ({s.directory})" for s in (found.a, found.b))
    return a, b


def _how(found: CrossComparison) -> str:
    level, tests = 100 * (1 - found.alpha), tested(found.matches)
    return (
        f"Differences are B minus A with {level:g} % intervals, each by itself; p-values are corrected over all "
        f"{tests} tests made here (Holm), and verdicts rest on them at {found.alpha:g}, the stricter alpha of the two "
        "studies. In brackets: runs."
    )


def _facts(found: CrossComparison) -> tuple[list[list[str]], str]:
    """What differs, a row each; and the names of what is equal."""
    unequal = [[fact.what, fact.a, fact.b, fact.status] for fact in found.facts if fact.status != EQUAL]
    return unequal, ", ".join(fact.what for fact in found.facts if fact.status == EQUAL)


def _rows(found: CrossComparison) -> list[list[str]]:
    sds: dict[str, list[float]] = {}
    for match in found.matches:
        sds.setdefault(match.metric, []).extend(sample.sd for sample in match.samples if sample.sd > 0)
    decimals = {
        metric: min(6, max(2, 1 - math.floor(math.log10(median(known))))) if known else 4
        for metric, known in sds.items()
    }
    return [_cells(match, decimals[match.metric]) for match in found.matches]


def _cells(match: Match, decimals: int) -> list[str]:
    test, means = match.test, []
    for sample in match.samples:
        sd = "" if math.isnan(sample.sd) else f" ± {words.number(sample.sd, decimals)}"
        means.append(f"{words.number(sample.mean, decimals)}{sd} ({sample.n})")
    line = [match.a, match.b, match.by, match.metric, *means]
    if test is None:
        return [*line, "–", "–", "–", match.verdict]
    ends = [words.number(end, decimals, sign=True) for end in (test.low, test.high)]
    interval = "–" if math.isnan(test.low) else " to ".join(ends)
    difference = words.number(test.mean, decimals, sign=True)
    return [*line, difference, interval, words.p_value(test.p_corrected), match.verdict]


def _notes(found: CrossComparison) -> list[str]:
    """Every reservation once, with the variants that it holds for."""
    about: dict[str, list[str]] = {}
    for match in found.matches:
        names = match.a if match.a == match.b else f"{match.a} / {match.b}"
        said = [*match.reasons, *([f"tested by {match.test.method}"] if match.test and match.test.p >= 0 else [])]
        for reason in said:
            if names not in about.setdefault(reason, []):
                about[reason].append(names)
    every = len({(match.a, match.b) for match in found.matches})
    notes = []
    for reason, names in about.items():
        notes.append(f"{'all' if len(names) == every > 1 else ', '.join(names)}: {reason}")
    for side, labels in zip((found.a, found.b), found.only, strict=True):
        if labels:
            notes.append(f"only in {side.name}: {', '.join(labels)}")
    if any(match.by == "config" and match.test for match in found.matches):
        notes.append("matched by config: what differs there is due to seeds, data, software or machine")
    return notes


def _config_notes(found: CrossComparison) -> list[str]:
    """Every difference of configs once, with the variants that it holds for."""
    about: dict[str, list[str]] = {}
    for (a, b), lines in found.differences.items():
        for line in lines:
            about.setdefault(line, []).append(a if a == b else f"{a} / {b}")
    every = len(found.differences)
    return [
        f"{'all' if len(names) == every > 1 else ', '.join(names)}: {line} (A -> B)" for line, names in about.items()
    ]


def _columns(header: tuple[str, ...], rows: list[list[str]], left: tuple[int, ...]) -> list[str]:
    """A table of fixed width."""
    widths = [max(len(row[i]) for row in [list(header), *rows]) for i in range(len(header))]

    def line(row: list[str]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    first = line(list(header))
    return [first, "-" * len(first), *map(line, rows)]
