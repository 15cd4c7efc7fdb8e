"""What is written beside the page, the words, and that many runs make no large page."""

import csv
import math
import re

import pytest
from study.report_fakes import METRIC, noise, variants, write_study

from transformer_jax.study.report import collect, words, write_report
from transformer_jax.study.report.latex import escape
from transformer_jax.study.report.tables import terminal_table

EVIL = r"50%_of_#1 & $x^2$ {a}\b~ <c> | `d` [e]"


def plain(label, seed):
    return 2.0 + noise(label, seed)


def read(directory, name):
    return (directory / "report" / name).read_text()


def test_200_runs_make_a_page_of_moderate_size(tmp_path):
    made = variants(*(f"a scheme with a rather long name, number {i}" for i in range(40)))
    write_report(write_study(tmp_path, made, plain, seeds=(0, 1, 2, 3, 4), steps=300))
    page = read(tmp_path, "index.html")
    assert len(page.encode()) < 3_000_000
    longest = max(len(d.split("L")) for d in re.findall(r'<path d="(M[^"]*)"', page))
    assert longest <= 320  # a line has at most 160 points, a band twice as many
    assert page.count(" data-first>") == 8
    assert len(list(csv.DictReader(read(tmp_path, "results.csv").splitlines()))) == 200


def test_the_latex_table_is_escaped_and_whole(tmp_path):
    also = [{"metric": "valid/accuracy", "direction": "max", "margin": None}]

    def accuracy(label, seed):
        return {"valid/accuracy": 0.5 + noise(label, seed)}

    write_report(write_study(tmp_path, variants("rope", EVIL), plain, declared={"also": also}, metrics=accuracy))
    table = read(tmp_path, "table.tex")
    assert table.count(r"\begin{table}") == table.count(r"\end{table}") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert table.count(rule) == 2
    rows = [line for line in table.splitlines() if line.endswith(r"\\") and "verdict" not in line]
    assert len(rows) == 4 and all(len(re.findall(r"(?<!\\)&", row)) == 7 for row in rows)
    assert escape(EVIL) == (
        r"50\%\_of\_\#1 \& \$x\textasciicircum{}2\$ \{a\}\textbackslash{}b\textasciitilde{} "
        r"\textless{}c\textgreater{} \textbar{} `d` {[}e{]}"
    )
    body = "".join(line for line in table.splitlines() if not line.startswith("%"))
    assert not set("−±×–≤") & set(body)


def test_markdown_keeps_its_tables_whatever_a_label_holds(tmp_path):
    write_report(write_study(tmp_path, variants("rope", EVIL), plain))
    text = read(tmp_path, "report.md")
    tables, width = [], 0
    for line in text.splitlines():
        if line.startswith("| "):
            width = width or line.count(" | ")
            assert line.count(" | ") == width, line
            tables.append(line)
        else:
            width = 0
    assert tables and "`d`" not in text and "<c>" not in text
    linked = re.findall(r"\]\((\w+\.png)\)", text)
    assert {"differences.png", "curve.png", "gap.png", "train.png", "cost_size.png", "cost_speed.png"} <= set(linked)
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == set(linked)


def test_a_full_product_gets_heat_maps_and_the_others_none(tmp_path):
    made = [
        (f"{position}, {heads}", {"model.position": position, "model.heads": heads})
        for position in ("rope", "alibi")
        for heads in (8, 1, 2)
    ]
    write_report(write_study(tmp_path, made, lambda label, seed: plain(label, seed) + 0.5 * ("1" in label)))
    page = read(tmp_path, "index.html")
    assert "Factors and their interactions" in page and "heads: matters, averaged over the other factors" in page
    assert "position: no effect shown" in page and "heads × position: no interaction shown" in page
    assert "1, rope: 2." in page and "Factorial analysis of variance" in page
    assert (tmp_path / "report" / "factors_heads_position.png").is_file()
    rest = write_study(tmp_path / "rest", made[:-1], plain)
    write_report(rest)
    assert "Factors" not in read(rest, "index.html")


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ({"a": 0.0}, "a cannot be told from rope: bits per byte "),
        ({"a": -1.0}, "a is better than rope: bits per byte −1."),
        ({"a": 0.0, "b": 0.0}, "None of the 2 variants can be told from rope on bits per byte (true differences below"),
        ({"a": 1.0, "b": 0.0}, "No variant is better than rope on bits per byte: of 2, 1 is worse, 1 is not disting"),
        ({"a": -1.0, "b": -1.5}, "b is better than rope (bits per byte −1.5"),
        ({"a": -1.0, "b": -1.5, "c": 1.0}, ", and so is 1 more of 3 variants; 1 is worse."),
        ({"a": -1.0, "b": 1.0}, "; of the others, 1 is worse."),
    ],
)
def test_the_verdict_in_a_sentence(tmp_path, effects, said):
    def value(label, seed):
        return 2.0 + effects.get(label, 0.0) + noise(label, seed)

    report = collect(write_study(tmp_path, variants("rope", *effects), value, seeds=tuple(range(6))))
    assert said in words.headline(report)
    assert words.headline(report) in terminal_table(report)


def test_an_unfinished_study_says_so_first(tmp_path):
    report = collect(
        write_study(tmp_path, variants("rope", "a", "b"), lambda *run: None if run == ("b", 3) else plain(*run))
    )
    assert words.headline(report).startswith("So far, with 11 of 12 runs: none of the 2 variants")


def test_programs_of_unequal_size_are_not_compared_in_speed(tmp_path):
    def result(label, seed):
        return {"members": 4 if label == "rope" else 1, "tokens_per_second": 100.0}

    report = collect(write_study(tmp_path, variants("rope", "a"), plain, result=result))
    assert any("trained 1 or 4 runs at once" in note for note in words.side_notes(report))
    assert report.rows[1].speed_ratio == 0.25 and "tokens per second" not in words.sentence(report, report.rows[1])


def test_curves_skip_what_is_torn_or_not_a_number(tmp_path):
    directory = write_study(tmp_path, variants("rope", "a"), plain)
    for path in directory.glob("runs/*/metrics.jsonl"):
        with path.open("a") as file:
            file.write(f'\n{{"step": 21, "{METRIC}": NaN}}\n{{"step": 22, "{METRIC}": 1.')
    write_report(directory)
    assert "nan" not in read(directory, "index.html").lower().replace("tenant", "")


@pytest.mark.parametrize(
    "value",
    [
        lambda label, seed: math.nan if label == "rope" else plain(label, seed),
        lambda label, seed: math.nan if label != "rope" else plain(label, seed),
        lambda label, seed: plain(label, seed) if (label, seed) == ("rope", 0) else None,
        lambda label, seed: 2.0,
        lambda label, seed: 2.0 + (1e6 if label == "a" else 0.0) + noise(label, seed),
    ],
    ids=["baseline diverged", "all others diverged", "one run", "no variance", "one far out"],
)
def test_studies_at_the_edge_are_reported(tmp_path, value):
    write_report(write_study(tmp_path, variants("rope", "a", "b"), value, steps=3))
    page = read(tmp_path, "index.html")
    assert "The variants" in page and not re.search(r'="-?(nan|inf)|[ML](nan|inf)', page)
