"""Random configs: each is refused with a message that names a key, or planned, or takes a step; none crashes.

`python -m tests.fuzz.run --cases=1000` (`make fuzz`) checks a thousand in processes of their own.
"""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import run
from tests.fuzz.checks import Broken, check
from tests.fuzz.strategies import cases, mutation, valid

_QUICK = settings(
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@settings(_QUICK, max_examples=40)
@given(case=cases())
def test_a_config_is_refused_by_name_or_planned(case):
    check(case, steps=False)


@settings(_QUICK, max_examples=6, phases=[Phase.generate])
@seed(1)
@given(changes=valid(1))
def test_a_valid_config_takes_a_step(changes):
    case = {"entry": "saved", "changes": changes, "devices": 1, "machine": "cpu:1", "whole": False}
    outcome, told = check(case)
    assert outcome in ("stepped", "planned", "refused", "refused by the data"), told


@settings(_QUICK, max_examples=100)
@given(change=mutation())
def test_a_mutated_config_is_no_crash(change):
    """Of the default config, which is not planned: most are refused within milliseconds."""
    case = {"entry": "saved", "changes": dict([change]), "devices": 1, "machine": "cpu:1", "whole": False}
    check(case, steps=False)


def test_a_case_is_drawn_again_from_its_seed():
    one, two = run.drawn(3, 5), run.drawn(5, 5)
    assert json.dumps(one) == json.dumps(two[:3])
    assert len({json.dumps(case) for case in two}) == 5


def test_a_message_that_names_no_key_is_a_fault(monkeypatch):
    from tests.fuzz import checks
    from transformer_jax.errors import UserError

    def refuse(*_, **__):
        raise UserError("something is wrong")

    monkeypatch.setattr(checks, "validate", refuse)
    case = {"entry": "saved", "changes": {}, "devices": 1, "machine": "cpu:1", "whole": False}
    with pytest.raises(Broken, match="names no key"):
        check(case)


@pytest.mark.parametrize("outcome, failed", [("refused", 0), ("CRASHED ValueError", 1), ("HUNG", 1)])
def test_the_summary_counts_and_tells_what_failed(outcome, failed):
    answers = [{"case": '{"changes": {}}', "outcome": outcome, "details": "model.width", "seconds": 1.0}]
    text = run.summary(answers)
    assert outcome in text and text.count("changes") == failed


@pytest.mark.slow
def test_a_worker_that_dies_or_hangs_costs_one_case(tmp_path):
    """In a process of its own: with the same cases, the answers are taken from the file."""
    every = run.drawn(4, 9)
    every[1] = {"crash": True}  # is no case
    out = tmp_path / "answers.jsonl"
    found = run.run([case | {"counted": True} for case in every], out, seconds=60)
    assert [each["outcome"].startswith("CRASHED") for each in found].count(True) == 1
    before = out.read_text()
    assert run.run([case | {"counted": True} for case in every], out, seconds=60) == found
    assert out.read_text() == before
