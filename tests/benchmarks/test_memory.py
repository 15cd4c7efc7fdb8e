"""Memory of compiled steps: what is compared differs in one thing, and the page keeps its words."""

from pathlib import Path

import pytest

from benchmarks import growth_table, memory
from benchmarks.growth_table import marks
from benchmarks.memory import CHUNKS, LENGTHS, PARTS, VOCABS, Case, Seen, cases
from benchmarks.memory_table import PAGE, tables
from benchmarks.run import main
from transformer_jax import config as config_lib
from transformer_jax.validate import problems

DOCS = Path(__file__).parents[2] / "docs"


def test_every_case_is_valid():
    for part in PARTS:
        for case in cases(part):
            assert problems(case.config(), n_devices=1, platform="cpu") == [], case
    assert {case.label[0] for case in cases("kernels")} >= {"plain", "xla", "blocks"}
    assert {case.label[2] for case in cases("vocabulary")} == set(CHUNKS)


@pytest.mark.parametrize("part", PARTS)
def test_tables(part):
    found = []
    for case in cases(part):
        table = memory.FLOAT * case.vocab * 256
        grown = case.label[2] if part == "kernels" else 2**20
        known = {"temporary": 2**20 * grown // 8 + table, "arguments": 3 * table}
        found.append(Seen(case, known, [0.5, 0.6, 0.4]))
    text = tables(part, found, "header")
    assert text.startswith("header\n\n| ")
    if part == "vocabulary":
        small, large = (found[VOCABS.index(vocab)] for vocab in VOCABS)
        assert f"| {large.temporary / small.temporary:.2f} |" in text and "| 1.00 |" in text
        assert large.less_table == small.less_table
    if part == "kernels":
        assert f"L {LENGTHS[-1]:,}" in text
    if part == "remat":
        assert "| scan, none | 500.0 (400.0 to 600.0) | 1.00 (1.00 to 1.00) |" in text


def test_from_end_to_end(tmp_path, monkeypatch, capsys):
    def few():
        changes = {"data.length": 8, "data.batch_size": 2, "model.layers": 1, "model.width": 16, "model.heads": 2}
        return [Case("remat", ("scan", p), changes | {"model.remat": p}, 16) for p in ("none", "full")]

    monkeypatch.setitem(PARTS, "remat", few)
    (tmp_path / PAGE).write_text("before {}{} after".format(*marks("remat")))
    assert main(["memory", "--only=remat", "--repeats=2", f"--out={tmp_path}"]) == 0
    text = (tmp_path / PAGE).read_text()
    assert text.startswith("before") and text.endswith("after") and "| scan, full | " in text
    assert "python -m benchmarks.run memory --only=remat --repeats=2" in text
    assert "round 2 of 2" in capsys.readouterr().out


def test_mistakes(tmp_path, capsys):
    assert main(["memory", f"--out={tmp_path}"]) == 2 and "memory.md" in capsys.readouterr().err
    assert main(["memory", "--repeats=0"]) == 2 and "--repeats=0" in capsys.readouterr().err
    assert main(["memory", "--config.seed=1"]) == 2 and "takes no config" in capsys.readouterr().err
    growth_table.check_marks(DOCS / PAGE, list(PARTS))
    assert config_lib.CHOICES["model.remat"][0] == "none"  # what the others are held against
