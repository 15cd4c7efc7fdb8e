"""A value of a recipe key is chosen for each variant, on the valid split, with seeds of its own."""

from pathlib import Path

import pytest
from study.study_fakes import study

from transformer_jax import config
from transformer_jax.errors import UserError
from transformer_jax.study import Goal, Run, Study, Tune, param, trials, tune

RATES = (1e-4, 1e-3, 1e-2)


def tuned(values=RATES, seeds=2, goal: Goal | None = None, **changes) -> Study:
    base = config.base()
    base.seed, base.train.test_batches = 3, -1
    base.data.tests = "2x: copy(test=(11, 20))"
    goal = goal or Goal("test/bits_per_byte", "min")
    return study(base=base, goal=goal, tune=Tune("optim.learning_rate", values, seeds), **changes)


def run_of(trial, status="finished", **metrics) -> Run:
    result = {"step": 100, "seconds": 2.0, "flops_per_token": 1000.0, "metrics": metrics}
    directory = Path("runs") / trial.directory
    return Run(trial.label, trial.seed, directory, status, {} if status == "failed" else result, "")


def runs_with(study: Study, score) -> list[Run]:
    """`score(label, rate, seed)` is the metric, or the status of a run without one."""
    made = []
    for trial in tune.trials(study):
        found = score(trial.label, trial.config.optim.learning_rate, trial.seed)
        made.append(run_of(trial, found) if isinstance(found, str) else run_of(trial, **{"valid/bits_per_byte": found}))
    return made


def test_every_variant_tries_every_value_with_seeds_of_its_own():
    made = tuned()
    planned = tune.trials(made)
    found = {(t.label, t.config.optim.learning_rate, t.seed) for t in planned}
    labels = ("heads=4", "heads=1", "heads=2")
    assert found == {(label, rate, 3 + 10_000 + i) for label in labels for rate in RATES for i in range(2)}
    assert len(planned) == len(found)
    assert not {t.seed for t in planned} & {t.seed for t in trials(made)}
    assert len({t.directory for t in planned}) == len(planned)
    first = planned[0]
    assert first.directory == f"tune-heads-4-0.0001-s10003-{first.fingerprint}"


def test_no_other_split_is_read_and_nothing_else_differs():
    made = tuned()
    plain = next(t.config for t in trials(made) if t.label == "heads=1")
    trial = next(t.config for t in tune.trials(made) if t.label == "heads=1")
    changed = [line.split(":")[0] for line in config.differences(config.to_dict(plain), config.to_dict(trial))]
    assert changed == ["data.tests", "optim.learning_rate", "seed", "train.test_batches"]
    assert (trial.data.tests, trial.train.test_batches) == ("", 0)


def test_what_a_budget_has_resized_is_tuned():
    planned = tune.trials(tuned(), {"heads=1": {"model.ffn_size": 77}})
    assert {(t.label, t.config.model.ffn_size) for t in planned} == {
        ("heads=4", 512),
        ("heads=1", 77),
        ("heads=2", 512),
    }


def test_the_best_mean_wins_for_each_variant():
    best = {"heads=4": 1e-3, "heads=1": 1e-2, "heads=2": 1e-4}

    def score(label, rate, seed):
        return 2.0 + (rate != best[label]) + 0.1 * (seed % 2)

    made = tuned()
    extra, record = tune.choose(made, runs_with(made, score))
    assert extra == {label: {"optim.learning_rate": rate} for label, rate in best.items()}
    chosen = record["chosen"]
    assert chosen["heads=4"] == {
        "value": 1e-3,
        "scores": {"0.0001": pytest.approx(3.05), "0.001": pytest.approx(2.05), "0.01": pytest.approx(3.05)},
        "edge": False,
    }
    assert [chosen[label]["edge"] for label in best] == [False, True, True]
    assert (record["key"], record["values"], record["seeds"]) == ("optim.learning_rate", list(RATES), 2)
    assert record["metric"] == "valid/bits_per_byte"
    tokens = made.base.data.batch_size * made.base.data.length
    assert record["cost"] == {"runs": 18, "seconds": 36.0, "training_flops": 18 * 1000.0 * tokens * 100}


def test_the_goals_direction_and_name_decide():
    made = tuned(goal=Goal("2x/accuracy", "max"))
    planned = tune.trials(made)
    runs = [run_of(t, **{"valid/accuracy": t.config.optim.learning_rate}) for t in planned]
    extra, record = tune.choose(made, runs)
    assert {each["optim.learning_rate"] for each in extra.values()} == {1e-2}
    assert record["metric"] == "valid/accuracy"


def test_of_equal_values_the_first_one_is_taken():
    made = tuned(values=(1e-3, 1e-4, 1e-2))
    extra, _ = tune.choose(made, runs_with(made, lambda *_: 2.0))
    assert {each["optim.learning_rate"] for each in extra.values()} == {1e-3}


def test_a_value_with_one_diverged_run_is_out():
    made = tuned()

    def score(label, rate, seed):
        if rate == 1e-2:
            return "diverged" if seed == 10_004 else 0.1
        return 2.0 - rate

    extra, record = tune.choose(made, runs_with(made, score))
    assert extra["heads=1"] == {"optim.learning_rate": 1e-3}
    assert record["chosen"]["heads=1"]["scores"]["0.01"] is None
    assert not record["chosen"]["heads=1"]["edge"]  # what lies beyond has been tried
    assert record["cost"]["runs"] == 18


def test_nothing_is_chosen_while_a_run_has_failed():
    made = tuned()
    runs = runs_with(made, lambda label, rate, seed: "failed" if (label, rate) == ("heads=2", 1e-2) else 2.0)
    with pytest.raises(UserError, match=r"tune-heads-2-0\.01-s\d+-\w+ is not done yet"):
        tune.choose(made, runs)


def test_a_run_that_measured_nothing_takes_its_value_out():
    made = tuned()
    runs = runs_with(made, lambda label, rate, seed: None if rate == 1e-4 else 2.0)
    assert tune.choose(made, runs)[0]["heads=1"] == {"optim.learning_rate": 1e-3}


def test_a_variant_without_a_value_is_refused():
    made = tuned()
    runs = runs_with(made, lambda label, rate, seed: "diverged" if label == "heads=2" else 2.0)
    with pytest.raises(UserError, match=r"variant 'heads=2': no value of optim.learning_rate is left"):
        tune.choose(made, runs)


def test_nothing_is_chosen_before_all_runs_are_done():
    made = tuned()
    runs = runs_with(made, lambda label, rate, seed: "interrupted" if label == "heads=2" else 2.0)
    with pytest.raises(UserError, match=r"tune-heads-2-.* is not done yet"):
        tune.choose(made, runs)
    with pytest.raises(UserError, match=r"'heads=2' has not been tuned with 0.0001 yet"):
        tune.choose(made, [run for run in runs if run.label != "heads=2"])


def test_labels_with_one_beginning_are_kept_apart():
    grid = param("model.ffn_size", [64, 640], name="")
    made = tuned(grid=grid, baseline="64", values=(1e-3, 1e-4))
    runs = runs_with(made, lambda label, rate, seed: rate if label == "64" else -rate)
    extra, _ = tune.choose(made, runs)
    assert extra == {"64": {"optim.learning_rate": 1e-4}, "640": {"optim.learning_rate": 1e-3}}
