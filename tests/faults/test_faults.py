"""The fault table's own machinery, and a few of its faults; `make faults` tries all of them."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.faults import base, corrupt, kill, run
from tests.faults.base import Bench, Row


def test_a_few_files_of_checkpoints_are_damaged_and_none_of_it_is_read(tmp_path):
    rows = list(itertools.islice(corrupt.corrupt(Bench(tmp_path, quick=True)), 3))
    assert all(row.good for row in rows), rows
    assert [row.times for row in rows] == [4, 4, 3]


def test_a_run_is_killed_twice_and_comes_to_the_same(tmp_path):
    (row,) = kill.kill(Bench(tmp_path, seed=1, quick=True))
    assert row.good and row.times >= 1, row


def test_differences_are_seen_to_the_last_bit():
    one = {"state": {"w": np.zeros(3, np.float32)}, "rows": {"1 loss": 0.5}}
    other = {"state": {"w": np.asarray([0, 0, 1e-45], np.float32)}, "rows": {"1 loss": 0.5}}
    assert base.differences(one, one) == [] and base.differences(one, other) == ["state"]
    assert base.differences(one, one | {"rows": {"2 loss": 0.5}}) == ["rows"]


def test_the_page_says_what_is_bad():
    page = run.page([Row("a fault", 3, "all well", True, 60.0), Row("another", 1, "lost", False)])
    assert "| a fault | 3 | all well | good |" in page and "| another | 1 | lost | **bad** |" in page


@pytest.mark.parametrize("damage", [*corrupt.FILES, *corrupt.MANIFESTS])
def test_damages_change_what_they_are_given(tmp_path, damage):
    path = tmp_path / "checkpoints/8/state/file"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not zero" * 20)
    before = _seen(tmp_path)
    damage(path, np.random.default_rng(0))
    assert _seen(tmp_path) != before


def _seen(directory: Path) -> set[tuple[str, bytes, bool]]:
    return {(str(p), p.read_bytes(), p.is_symlink()) for p in directory.rglob("*") if p.is_file()}
