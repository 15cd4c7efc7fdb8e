import pytest
from study.study_fakes import study

from transformer_jax import config
from transformer_jax.errors import UserError
from transformer_jax.objective import Loss
from transformer_jax.study import Goal, chain, param, point, run_study
from transformer_jax.study.measured import METRICS, unmeasured
from transformer_jax.train.evaluation import summarise


def test_what_runs_measure_is_known():
    assert set(summarise(Loss(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))) == set(METRICS)


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("valid/bits_per_bite", r"a run measures loss, .*bits_per_byte"),
        ("test/loss", r"runs of 'heads=4' are measured on valid; train.test_batches=-1"),
        ("8x/loss", r"are measured on valid$"),
    ],
)
def test_a_goal_that_no_run_measures_is_refused_before_training(tmp_path, metric, told):
    with pytest.raises(UserError, match=told):
        run_study(study(goal=Goal(metric)), tmp_path / "s")
    assert not (tmp_path / "s" / "study.json").exists()


def test_what_every_variant_measures_is_accepted():
    base = config.base()
    base.train.test_batches, base.data.tests = -1, "2x: copy(test=(11, 20))"
    assert unmeasured(study(base=base, goal=Goal("test/loss"), also=(Goal("2x/exact_match", "max"),))) == []


def test_one_variant_that_does_not_is_named():
    base = config.base()
    base.train.test_batches = -1
    grid = chain(point("all"), param("train.test_batches", [0]))
    (line,) = unmeasured(study(grid=grid, base=base, goal=Goal("test/loss")))
    assert "runs of 'test_batches=0' are measured on valid" in line
