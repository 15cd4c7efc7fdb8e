import json
import re

import pytest
from study.study_fakes import METRIC, FakeTrainer, accept, study

from transformer_jax import config
from transformer_jax.errors import UserError
from transformer_jax.study import Budget, Goal, Store, chain, claim, param, point, run_study, trials


def run(made, directory, trainer, **more):
    given = {"trainer": trainer, "validator": accept, "tell": print, "members": 1}
    return run_study(made, directory, **(given | more))


def test_a_study_runs_once_and_says_what_it_does(tmp_path, capsys):
    trainer = FakeTrainer()
    summary = run(study(), tmp_path, trainer)
    assert (summary.count("finished"), summary.skipped, summary.failed) == (9, 0, [])
    assert summary.complete and trainer.calls[:4] == [(4, 0), (1, 0), (2, 0), (4, 1)]
    told = capsys.readouterr().out
    assert "[9/9] heads=2, seed 2: running" in told
    assert re.search(r"\[9/9\] heads=2, seed 2: valid/bits_per_byte 2\.\d{4} \(0 s; 0 s left\)", told)
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


def test_seeds_train_together_and_say_so(tmp_path, capsys):
    trainer = FakeTrainer()
    run(study(), tmp_path, trainer, members=None)
    assert trainer.rounds_seen == [[(heads, seed) for seed in range(3)] for heads in (4, 1, 2)]
    told = capsys.readouterr().out
    assert "unit-002: 3 runs train together: heads=1, seeds 0, 1, 2" in told
    assert "[5/9] heads=1, seed 1: valid/bits_per_byte 2." in told


def test_what_fails_together_is_recorded_for_each_and_tried_again_together(tmp_path, capsys):
    trainer = FakeTrainer(broken={(1, 1): RuntimeError("out of memory")})
    summary = run(study(), tmp_path, trainer, members=None)
    assert [(r.label, r.seed) for r in summary.failed] == [("heads=1", 1), ("heads=1", 2)]
    assert not summary.complete and summary.count("finished") == 7
    healthy = FakeTrainer()
    assert run(study(), tmp_path, healthy, members=None).complete
    assert healthy.calls == [(1, 1), (1, 2)]  # and the one that was done has kept its slot
    assert healthy.rounds_seen == [[(1, 0), (1, 1), (1, 2)]]
    assert "3 runs train together (1 done before): heads=1, seeds 0, 1, 2" in capsys.readouterr().out


def test_units_and_slots_stay_when_variants_and_seeds_are_added(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(study(), tmp_path, FakeTrainer(broken={(2, 1): KeyboardInterrupt()}), members=None)
    before = Store(tmp_path).plan().units
    trainer = FakeTrainer()
    grown = study(param("model.heads", [8, 4, 1, 2]), baseline="heads=4", seeds=5)
    assert run(grown, tmp_path, trainer, members=None).complete
    after = Store(tmp_path).plan().units
    assert after[:3] == before
    assert trainer.rounds_seen == [
        [(2, 0), (2, 1), (2, 2)],  # as it was begun
        [(8, seed) for seed in range(5)],
        *([(heads, 3), (heads, 4)] for heads in (4, 1, 2)),
    ]
    assert len(trainer.calls) == 2 + 5 + 6


def test_rounds_are_recorded_before_training_and_kept(tmp_path):
    def trainer_with(rounds, **more):
        trainer = FakeTrainer(**more)
        trainer.rounds = lambda configs: rounds
        return trainer

    broken = {(4, 1): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run(study(), tmp_path, trainer_with([[0, 1], [2]], broken=broken), members=None)
    assert json.loads((tmp_path / "units" / "unit-001.json").read_text())["rounds"] == [[0, 1], [2]]
    trainer = trainer_with([[0], [1], [2]])
    run(study(), tmp_path, trainer, members=None)
    assert trainer.rounds_seen[:5] == [[(4, 0), (4, 1)], [(4, 2)], [(1, 0)], [(1, 1)], [(1, 2)]]


def test_a_config_is_rebuilt_from_the_plan_alone(tmp_path):
    made = study(chain(point("plain"), point("wide", {"model.width": 128, "optim.learning_rate": 1e-4})))
    run(made, tmp_path, FakeTrainer())
    plan = Store(tmp_path).plan()
    by_directory = {trial.directory: trial for trial in trials(made)}
    assert len(plan.slots) == 6
    for slot in plan.slots:
        rebuilt = plan.config(slot)
        assert config.fingerprint(rebuilt) == by_directory[slot.directory].fingerprint
        assert plan.steps(slot) == rebuilt.train.steps


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
    summary = run(study(), tmp_path, lambda configs, workdirs: None)
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


def test_declarations_of_older_formats_are_read_and_gone_on_with(tmp_path):
    run(study(), tmp_path, FakeTrainer())
    path = tmp_path / "study.json"
    third = json.loads(path.read_text())
    assert third["format"] == 3
    second = {k: v for k, v in third.items() if k not in ("margin", "test", "claims", "budget", "tuning")}
    first = {k: v for k, v in second.items() if k != "also"}
    for old in (second | {"format": 2}, first | {"format": 1}):
        path.write_text(json.dumps(old))
        assert Store(tmp_path).declaration() == third | {"format": old["format"]}
        assert run(study(), tmp_path, FakeTrainer()).skipped == 9
    (tmp_path / "units.json").unlink()  # which these had not
    trainer = FakeTrainer()
    assert run(study(seeds=4), tmp_path, trainer).complete and len(trainer.calls) == 3
    assert Store(tmp_path).declaration()["format"] == 3
    path.write_text(json.dumps(third | {"format": 4}))
    with pytest.raises(UserError, match="format 4; this version reads 1 to 3"):
        Store(tmp_path).declaration()


def test_keys_that_have_come_since_have_their_default_and_runs_keep_their_directories(tmp_path):
    run(study(), tmp_path, FakeTrainer())
    path = tmp_path / "study.json"
    old = json.loads(path.read_text())
    del old["base"]["train"]["steps_per_dispatch"]
    for each in old["trials"]:
        renamed = each["directory"].replace(each["fingerprint"], "before")
        (tmp_path / "runs" / each["directory"]).rename(tmp_path / "runs" / renamed)
        each["directory"] = renamed
    path.write_text(json.dumps(old))
    (tmp_path / "units.json").unlink()
    trainer = FakeTrainer()
    summary = run(study(param("model.heads", [4, 1, 2, 8])), tmp_path, trainer)
    assert summary.skipped == 9 and trainer.calls == [(8, 0), (8, 1), (8, 2)]


def test_the_declaration_comes_first_and_stands(tmp_path):
    seen = []

    def trainer(configs, workdirs):
        seen.append(json.loads((tmp_path / "study.json").read_text())["metric"])
        FakeTrainer()(configs, workdirs)

    claims = (claim("heads=1 > heads=4", source="Nobody 2020"),)
    run(study(claims=claims), tmp_path, trainer)
    assert seen == [METRIC] * 9
    (written,) = Store(tmp_path).declaration()["claims"]
    assert (written["text"], written["metric"], written["source"]) == ("heads=1 > heads=4", METRIC, "Nobody 2020")
    for changes, line in (
        ({"goal": Goal("valid/loss", "min")}, "metric: 'valid/bits_per_byte' -> 'valid/loss'"),
        ({"goal": Goal(METRIC, "max")}, "direction: 'min' -> 'max'"),
        ({"goal": Goal(METRIC, "min", 0.1)}, "alpha: 0.05 -> 0.1"),
        ({"also": (Goal("4x/exact_match", "max"),)}, r"also: \[\] -> .*4x/exact_match"),
        ({"goal": Goal(METRIC, "min", margin=0.01)}, "margin: None -> 0.01"),
        ({"test": "sign_flip"}, "test: 't' -> 'sign_flip'"),
        ({"claims": ()}, "claim 'heads=1 > heads=4': changed or taken away"),
        ({"budget": Budget("params", "model.ffn_size")}, "budget: None -> .*model.ffn_size"),
        ({"baseline": "heads=1"}, "baseline: 'heads=4' -> 'heads=1'"),
        ({"grid": param("model.heads", [4, 1])}, "variant 'heads=2': taken away"),
        ({"seeds": 2}, r"seeds: \[0, 1, 2\] -> \[0, 1\]"),
    ):
        with pytest.raises(UserError, match=line):
            Store(tmp_path).declare(study(**({"claims": claims} | changes)), budget=fake_budget(changes))
    made = study(claims=claims)
    made.base.train.steps = 5
    with pytest.raises(UserError, match=r"base train.steps: 200 -> 5"):
        run(made, tmp_path, trainer)


def fake_budget(changes):
    return {"kind": "params", "resize": "model.ffn_size", "tolerance": 0.01} if "budget" in changes else None


def test_what_is_added_later_is_run_and_recorded(tmp_path):
    run(study(), tmp_path, FakeTrainer())
    trainer = FakeTrainer()
    claims = (claim("heads=8 > heads=4", source="Nobody 2020"),)
    summary = run(study(param("model.heads", [4, 1, 2, 8]), seeds=4, claims=claims), tmp_path, trainer)
    assert len(summary.runs) == 16 and len(trainer.calls) == 7
    (amendment,) = Store(tmp_path).declaration()["amendments"]
    assert amendment["added"] == ["variant 'heads=8'", "seed 3", "claim 'heads=8 > heads=4'"]
    assert amendment["results_known"] == 9


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
