from pathlib import Path

import pytest

from transformer_jax.data import load
from transformer_jax.data.corpora.base import corpora
from transformer_jax.study import load_study, trials

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.py"))


def test_there_are_experiments():
    known = {"calibration", "demo", "depth", "factorial", "families", "ffn"}
    known |= {"heads", "length", "positions", "residuals"}
    assert known <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("mode", ["", ":smoke"])
def test_every_experiment_is_a_study(path, mode):
    made = load_study(f"{path}{mode}")
    planned = trials(made)
    assert len(planned) == made.seeds * len(made.grid)
    assert f"experiments/{path.name}" in path.read_text().split('"""')[1]
    if mode:
        assert max(trial.config.train.steps for trial in planned) <= 8


@pytest.mark.parametrize("task", ["copy", "reverse", "sort", "addition", "associative_recall"])
def test_length_has_a_mode_for_each_task_and_rows_for_its_examples(task):
    """The longest example of training fits its row, and the tests are 2 and 4 times as long."""
    study = load_study(f"{EXPERIMENTS / 'length.py'}:{task}")
    section = study.base.data
    data = load(section, 0)
    train = data.rows("train")
    assert train.dropped == 0 and section.length - 8 < train.positions <= section.length
    longest = corpora.build(section.corpus).train[1]
    ranges = {name: corpora.build(test.layout.corpus).test for name, test in data.tests.items()}
    assert ranges == {"2x": (longest + 1, 2 * longest), "4x": (2 * longest + 1, 4 * longest)}
    assert {goal.metric.partition("/")[0] for goal in study.goals} == {"valid", *ranges}
