import json

import pytest
from study.study_fakes import METRIC, FakeTrainer, accept, study

from transformer_jax.errors import UserError
from transformer_jax.study import Goal, Store, param, run_study


def run(made, directory, trainer, **more):
    return run_study(made, directory, **({"trainer": trainer, "validator": accept, "tell": print} | more))


def test_a_study_runs_once_and_says_what_it_does(tmp_path, capsys):
    trainer = FakeTrainer()
    summary = run(study(), tmp_path, trainer)
    assert (summary.count("finished"), summary.skipped, summary.failed) == (9, 0, [])
    assert "[9/9] heads=2, seed 2: valid/bits_per_byte 2." in capsys.readouterr().out
    again = run(study(), tmp_path, trainer)
    assert (again.count("finished"), again.skipped, len(trainer.calls)) == (9, 9, 9)


def test_a_failed_run_is_recorded_does_not_stop_the_others_and_is_tried_again(tmp_path):
    trainer = FakeTrainer(broken={(1, 1): RuntimeError("out of memory")})
    summary = run(study(), tmp_path, trainer)
    (failed,) = summary.failed
    assert (failed.label, failed.seed, failed.problem) == ("heads=1", 1, "RuntimeError: out of memory")
    assert "Traceback" in (failed.directory / "error.txt").read_text()
    assert len(trainer.calls) == 9 and "1 FAILED" in str(summary)
    healthy = FakeTrainer()
    again = run(study(), tmp_path, healthy)
    assert healthy.calls == [(1, 1)] and not again.failed
    assert not (failed.directory / "error.txt").exists()


def test_an_interrupted_run_stops_all_and_is_resumed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(study(), tmp_path, FakeTrainer(broken={(2, 0): KeyboardInterrupt()}))
    assert [r.status for r in Store(tmp_path).runs()][:4] == ["finished", "finished", "interrupted", "missing"]
    trainer = FakeTrainer()
    assert run(study(), tmp_path, trainer).skipped == 2
    assert trainer.calls[0] == (2, 0) and len(trainer.calls) == 7


def test_a_diverged_run_is_a_result(tmp_path):
    trainer = FakeTrainer(broken={(1, 0): "diverged"})
    summary = run(study(), tmp_path, trainer)
    assert (summary.count("diverged"), summary.count("finished"), summary.failed) == (1, 8, [])
    assert run(study(), tmp_path, trainer).skipped == 9


def test_a_trainer_without_a_result_and_a_torn_result_are_no_results(tmp_path):
    summary = run(study(), tmp_path, lambda config, workdir: {"status": "finished"})
    assert len(summary.failed) == 9 and "without a result.json" in summary.failed[0].problem
    for each in summary.runs:
        (each.directory / "result.json").write_text('{"status": "fin')
    assert run(study(), tmp_path, FakeTrainer()).count("finished") == 9


def test_bad_configs_are_refused_together_before_anything_is_written(tmp_path):
    def refuse(trial):
        if trial.model.heads != 4:
            raise UserError(f"model.heads={trial.model.heads}: no")

    with pytest.raises(UserError, match=r"2 of 3 variants are refused:\n.*heads=1.*\n.*heads=2"):
        run(study(), tmp_path, FakeTrainer(), validator=refuse)
    assert not (tmp_path / "study.json").exists()


def test_a_metric_that_is_not_measured_stops_the_study_at_the_first_run(tmp_path):
    trainer = FakeTrainer()
    with pytest.raises(UserError, match=r"metric='valid/bits' was not measured .*did you mean"):
        run(study(goal=Goal("valid/bits", "min")), tmp_path, trainer)
    with pytest.raises(UserError, match="was not measured"):
        run(study(goal=Goal("valid/bits", "min")), tmp_path, trainer)
    assert len(trainer.calls) == 1


def test_secondary_metrics_must_be_measured_too(tmp_path):
    trainer = FakeTrainer()
    with pytest.raises(UserError, match="metric='3x/loss' was not measured"):
        run(study(also=(Goal("3x/loss"),)), tmp_path, trainer)
    assert len(trainer.calls) == 1


def test_a_metric_that_does_not_apply_is_no_failure_but_to_the_baseline(tmp_path, capsys):
    asked = {"goal": Goal("4x/exact_match", "max"), "also": (Goal(METRIC, "min"),)}
    trainer = FakeTrainer(inapplicable={1: "undefined from position 32 on"})
    summary = run(study(**asked), tmp_path / "a", trainer)
    assert summary.count("finished") == 9 and not summary.failed
    told = capsys.readouterr().out
    assert "heads=1, seed 0: 4x/exact_match not applicable: undefined from position 32 on" in told
    assert run(study(**asked), tmp_path / "a", trainer).skipped == 9
    trainer = FakeTrainer(inapplicable={4: "undefined from position 32 on"})
    with pytest.raises(UserError, match=r"does not apply to the baseline 'heads=4' \(undefined from position 32 on\)"):
        run(study(**asked), tmp_path / "b", trainer)
    assert len(trainer.calls) == 1


def test_a_declaration_from_before_secondary_metrics_is_read(tmp_path):
    run(study(), tmp_path, FakeTrainer())
    path = tmp_path / "study.json"
    old = json.loads(path.read_text()) | {"format": 1}
    del old["also"]
    path.write_text(json.dumps(old))
    assert Store(tmp_path).declaration()["also"] == []
    assert run(study(), tmp_path, FakeTrainer()).skipped == 9
    path.write_text(json.dumps(old | {"format": 3}))
    with pytest.raises(UserError, match="format 3; this version reads 1 and 2"):
        Store(tmp_path).declaration()


def test_the_declaration_comes_first_and_stands(tmp_path):
    seen = []

    def trainer(config, workdir):
        seen.append(json.loads((tmp_path / "study.json").read_text())["metric"])
        return FakeTrainer()(config, workdir)

    run(study(), tmp_path, trainer)
    assert seen == [METRIC] * 9
    for changes, line in (
        ({"goal": Goal("valid/loss", "min")}, "metric: 'valid/bits_per_byte' -> 'valid/loss'"),
        ({"goal": Goal(METRIC, "max")}, "direction: 'min' -> 'max'"),
        ({"goal": Goal(METRIC, "min", 0.1)}, "alpha: 0.05 -> 0.1"),
        ({"also": (Goal("4x/exact_match", "max"),)}, r"also: \[\] -> .*4x/exact_match"),
        ({"baseline": "heads=1"}, "baseline: 'heads=4' -> 'heads=1'"),
        ({"grid": param("model.heads", [4, 1])}, "variant 'heads=2': taken away"),
        ({"seeds": 2}, r"seeds: \[0, 1, 2\] -> \[0, 1\]"),
    ):
        with pytest.raises(UserError, match=line):
            run(study(**changes), tmp_path, trainer)
    made = study()
    made.base.train.steps = 5
    with pytest.raises(UserError, match=r"base train.steps: 200 -> 5"):
        run(made, tmp_path, trainer)


def test_what_is_added_later_is_run_and_recorded(tmp_path):
    run(study(), tmp_path, FakeTrainer())
    trainer = FakeTrainer()
    summary = run(study(param("model.heads", [4, 1, 2, 8]), seeds=4), tmp_path, trainer)
    assert len(summary.runs) == 16 and len(trainer.calls) == 7
    (amendment,) = Store(tmp_path).declaration()["amendments"]
    assert amendment["added"] == ["variant 'heads=8'", "seed 3"] and amendment["results_known"] == 9


def test_one_process_at_a_time(tmp_path):
    def trainer(config, workdir):
        run(study(), tmp_path, FakeTrainer())

    summary = run(study(), tmp_path, trainer)
    assert "another process is running the study" in summary.failed[0].problem


def test_a_directory_without_a_study_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no study"):
        Store(tmp_path).runs()


def test_curves_survive_torn_lines_and_resumes(tmp_path):
    summary = run(study(), tmp_path, FakeTrainer())
    first = summary.runs[0]
    with (first.directory / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 20, "train/loss": 7.0}\n')
    curve = first.curve("train/loss")
    assert list(curve) == [10, 20, 30] and curve[20] == 7.0
