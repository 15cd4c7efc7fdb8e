import pytest
from study.study_fakes import study

from transformer_jax import config
from transformer_jax.errors import UserError
from transformer_jax.study import param, trials
from transformer_jax.study.units import Plan, Progress, Unit, plan_units, read_plan, read_progress, write_plan
from transformer_jax.study.units import write_progress as write


def planned(made, plan=None, by="heads", **more):
    plan = plan or Plan(config.to_dict(made.base))
    group = {"heads": lambda c: str(c.model.heads), "all": lambda c: "", "none": config.fingerprint}[by]
    return plan_units(plan, [(trial, trial.directory) for trial in trials(made)], group, **more)


def runs(plan):
    return [[(slot.label.removeprefix("heads="), slot.seed) for slot in unit.slots] for unit in plan.units]


def sizes(plan):
    return [len(unit.slots) for unit in plan.units]


def test_what_can_train_together_is_one_unit_in_declared_order():
    plan = planned(study())
    assert [unit.name for unit in plan.units] == ["unit-001", "unit-002", "unit-003"]
    assert runs(plan) == [[(heads, seed) for seed in range(3)] for heads in "412"]
    assert runs(planned(study(), by="all")) == [[(heads, seed) for seed in range(3) for heads in "412"]]


def test_members_is_the_most_and_pairs_come_first():
    assert runs(planned(study(), members=2)) == [
        [("4", 0)],
        [("1", 0)],
        [("2", 0)],
        [("4", 1), ("4", 2)],
        [("1", 1), ("1", 2)],
        [("2", 1), ("2", 2)],
    ]
    assert sizes(planned(study(), by="all", members=4)) == [3, 3, 3]
    assert sizes(planned(study(), by="all", members=100)) == [9]


@pytest.mark.parametrize(
    ("by", "parts", "expected"),
    [("all", 2, [4, 5]), ("all", 9, [1] * 9), ("all", 50, [1] * 9), ("heads", 4, [1, 3, 3, 2]), ("none", 2, [1] * 9)],
)
def test_parts_is_the_least(by, parts, expected):
    plan = planned(study(), by=by, parts=parts)
    assert sizes(plan) == expected
    assert len({slot.directory for slot in plan.slots}) == 9


def test_what_is_recorded_stays(tmp_path):
    before = planned(study())
    write_plan(tmp_path, before)
    plan = read_plan(tmp_path)
    assert plan == before
    grown = study(param("model.heads", [8, 4, 1, 2]), baseline="heads=4", seeds=5)
    after = planned(grown, plan, parts=7, members=1)
    assert after.units[:3] == before.units
    assert after.units[3].name == "unit-004" and len(after.slots) == 20 and sizes(after)[3:] == [1] * 11
    assert planned(grown, after) == after


def test_a_plan_that_cannot_be_read_is_named(tmp_path):
    assert read_plan(tmp_path) is None
    (tmp_path / "units.json").write_text('{"format": 1')
    with pytest.raises(UserError, match=r"units.json cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "units.json").write_text('{"format": 9}')
    with pytest.raises(UserError, match="format 9; this version reads 1"):
        read_plan(tmp_path)


def test_progress_is_kept(tmp_path):
    unit = Unit("unit-007", ())
    assert read_progress(tmp_path, unit) == Progress(None, 0.0)
    (tmp_path / "units").mkdir()
    write(tmp_path, unit, Progress([[0], [1]], 2.5))
    assert read_progress(tmp_path, unit) == Progress([[0], [1]], 2.5)
