"""What compiled programs cost, against benchmarks/budgets.json: neither more nor less than recorded."""

import json
from pathlib import Path

import pytest

from benchmarks import budgets
from benchmarks.budget_cases import CASES

ROOT = Path(budgets.__file__).resolve().parents[1]
FAST = ("decoder, scanned", "decoder, unrolled", "evaluation", "decoding, a step")


def check(cases) -> None:
    of, before = budgets.recorded()
    if of != budgets.setting():
        pytest.skip(f"recorded for {of}, this is {budgets.setting()}: another compiler has other figures")
    now = budgets.measure(list(cases))
    found = [f"{case}: {line}" for case in cases for line in budgets.problems(before.get(case, {}), now[case])]
    told = "\nto record them: python -m benchmarks.budgets --record, and say in the commit why they changed"
    assert not found, "\n".join(found) + told


def test_programs_are_within_their_budgets():
    check(FAST)


@pytest.mark.slow
def test_all_other_programs_are_within_their_budgets():
    check([case for case in CASES if case not in FAST])


def test_the_record_is_of_all_programs_and_of_the_versions_that_are_tested():
    of, figures = budgets.recorded()
    assert figures.keys() == CASES.keys()
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition(";")[0].strip() for line in lines}
    missing = {f"{name}=={of[name]}" for name in ("jax", "jaxlib", "flax", "optax")} - pinned
    assert not missing, f"{missing} not in constraints.txt: python -m benchmarks.budgets --record"


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"a": 102.0, "b": 0}, []),
        ({"a": 98.0, "b": 0}, []),
        ({"a": 103.0, "b": 0}, ["a: 100 -> 103 (+3.0%): more than the budget"]),
        ({"a": 97.0, "b": 0}, ["a: 100 -> 97 (-3.0%): better: record it"]),
        ({"a": 100, "b": 1}, ["b: 0 -> 1 (+inf%): more than the budget"]),
        ({"a": 100}, ["b: is no more: record it"]),
        ({"a": 100, "b": 0, "c": 5}, ["c: not recorded: record it"]),
    ],
)
def test_a_figure_that_moved_by_more_than_two_percent_is_a_problem(now, told):
    assert budgets.problems({"a": 100, "b": 0}, now) == told


def test_recording_keeps_other_cases_of_the_same_versions_only(tmp_path):
    path = tmp_path / "budgets.json"
    budgets.record({"one": {"a": 1}}, path)
    budgets.record({"two": {"a": 2}}, path)
    assert budgets.recorded(path) == (budgets.setting(), {"one": {"a": 1}, "two": {"a": 2}})
    path.write_text(json.dumps({"setting": {"jaxlib": "0"}, "figures": {"one": {"a": 1}}}))
    budgets.record({"two": {"a": 2}}, path)
    assert budgets.recorded(path)[1] == {"two": {"a": 2}}


def test_the_table_shows_what_changed():
    lines = budgets.table({"one": {"a": 1000, "b": 1}}, {"one": {"a": 1100, "c": 2}}).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["one", "a", "1,000", "1,100", "+10.0%"],
        ["one", "b", "1", "—"],
        ["one", "c", "—", "2"],
    ]
