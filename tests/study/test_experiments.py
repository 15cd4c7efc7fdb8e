from pathlib import Path

import pytest

from transformer_jax.study import load_study, trials

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))


def test_there_are_experiments():
    assert {"demo", "families", "heads", "positions", "residuals"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("mode", ["", ":smoke"])
def test_every_experiment_is_a_study(path, mode):
    made = load_study(f"{path}{mode}")
    planned = trials(made)
    assert len(planned) == made.seeds * len(made.grid)
    assert f"experiments/{path.name}" in path.read_text().split('"""')[1]
    if mode:
        assert max(trial.config.train.steps for trial in planned) <= 8
