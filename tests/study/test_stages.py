"""What comes before the runs of a study: equal budgets and a tuned recipe, settled once."""

import json
import math

import pytest
from study.study_fakes import FakeTrainer, accept, study

from transformer_jax import config
from transformer_jax.errors import UserError
from transformer_jax.study import Budget, Goal, Store, Tune, param, run_study
from transformer_jax.study import budget as budgets
from transformer_jax.study.status import status

LEARNING_RATES = (1e-3, 1e-2, 1e-1)


def tuned(heads=(4, 1), **changes):
    base = config.base()
    base.train.test_batches = -1
    fields = {
        "base": base,
        "goal": Goal("test/bits_per_byte", "min"),
        "tune": Tune("optim.learning_rate", LEARNING_RATES, seeds=2),
    }
    return study(param("model.heads", list(heads)), **(fields | changes))


def best_at(trial):
    """One head likes a learning rate of 0.1, four diverge there."""
    best = {1: 1e-1, 4: 1e-2, 2: 1e-3}[trial.model.heads]
    rate = trial.optim.learning_rate
    return math.inf if (trial.model.heads, rate) == (4, 1e-1) else abs(math.log10(rate / best))


def run(made, directory, trainer, **more):
    return run_study(made, directory, trainer=trainer, validator=accept, **({"tell": str} | more))


def test_a_tuned_study_tunes_first_and_never_again(tmp_path, capsys):
    trainer = FakeTrainer(also=best_at)
    summary = run(tuned(), tmp_path, trainer, tell=print)
    assert summary.complete and len(summary.runs) == 6 and len(trainer.calls) == 2 * 3 * 2 + 6
    rates = [json.loads((r.directory / "config.json").read_text())["optim"]["learning_rate"] for r in summary.runs]
    assert rates == [1e-2, 1e-1] * 3
    declared = Store(tmp_path).declaration()
    chosen = {label: each["value"] for label, each in declared["tuning"]["chosen"].items()}
    assert chosen == {"heads=4": 1e-2, "heads=1": 1e-1}
    assert declared["tuning"]["chosen"]["heads=4"]["scores"]["0.1"] is None
    assert declared["variants"][1]["changed"]["optim.learning_rate"] == 1e-1 and declared["amendments"] == []
    told = capsys.readouterr().out
    assert "[1/12] heads=4 with optim.learning_rate=0.001, seed 10000: valid/bits_per_byte" in told
    assert "[1/6] heads=4, seed 0: test/bits_per_byte" in told
    again = FakeTrainer()
    assert run(tuned(), tmp_path, again).skipped == 6 and not again.calls
    with pytest.raises(UserError, match=r"tuning: .*0\.1\].* -> .*0\.2\]"):
        run(tuned(tune=Tune("optim.learning_rate", (1e-3, 0.2), seeds=2)), tmp_path, again)
    with pytest.raises(UserError, match=r"tuning: .* -> None"):
        run(tuned(tune=None), tmp_path, again)


def test_the_declaration_comes_before_the_tuning(tmp_path):
    trainer = FakeTrainer(also=best_at, broken={(1, 10_001): RuntimeError("out of memory")})
    summary = run(tuned(), tmp_path, trainer, members=1)
    assert summary.tuning and not summary.complete and len(summary.failed) == 3 and len(summary.runs) == 12
    assert "the same command goes on with the study" in str(summary)
    declared = Store(tmp_path).declaration()
    assert (
        declared["trials"] == [] and declared["tuning"]["chosen"] == {} and declared["metric"] == "test/bits_per_byte"
    )
    assert Store(tmp_path).runs() == []
    found = status(tmp_path)
    assert found.tuning and found.count("failed") == 3 and "fake, tuning: 12 runs: 9 done" in str(found)
    with pytest.raises(UserError, match=r"alpha: 0\.05 -> 0\.01"):
        run(tuned(goal=Goal("test/bits_per_byte", alpha=0.01)), tmp_path, trainer)
    trainer = FakeTrainer(also=best_at)
    assert run(tuned(), tmp_path, trainer, members=1).complete and len(trainer.calls) == 3 + 6


def test_an_added_variant_is_tuned_alone(tmp_path):
    run(tuned(), tmp_path, FakeTrainer(also=best_at))
    before = Store(tmp_path).declaration()["tuning"]["chosen"]
    trainer = FakeTrainer(also=best_at)
    assert run(tuned(heads=(4, 1, 2)), tmp_path, trainer).complete
    assert sorted(trainer.calls) == sorted([(2, 10_000), (2, 10_001)] * 3 + [(2, 0), (2, 1), (2, 2)])
    declared = Store(tmp_path).declaration()
    assert declared["tuning"]["chosen"]["heads=2"]["value"] == 1e-3
    assert before.items() <= declared["tuning"]["chosen"].items()
    assert declared["amendments"][0]["added"] == ["variant 'heads=2'"] and len(declared["trials"]) == 9


def test_a_budget_is_settled_once_and_recorded(tmp_path, monkeypatch):
    fitted = []

    def fit(made, validator):
        fitted.append(made.grid.labels)
        sizes = {label: 100 + 10 * i + len(fitted) for i, label in enumerate(made.grid.labels)}
        matched = {label: {"value": size, "off": 0.001} for label, size in sizes.items()}
        record = {"kind": "params", "resize": "model.ffn_size", "tolerance": 0.01, "matched": matched}
        return {label: {"model.ffn_size": size} for label, size in sizes.items()}, record

    monkeypatch.setattr(budgets, "fit", fit)
    equal = {"budget": Budget("params", "model.ffn_size")}
    for _ in range(2):
        assert run(study(param("model.heads", [4, 1]), **equal), tmp_path, FakeTrainer()).complete
    assert len(fitted) == 1
    with pytest.raises(UserError, match=r"budget: .*model\.ffn_size.* -> .*model\.width"):
        run(study(param("model.heads", [4, 1]), budget=Budget("params", "model.width")), tmp_path, FakeTrainer())
    assert run(study(param("model.heads", [4, 1, 2]), **equal), tmp_path, FakeTrainer()).skipped == 6
    declared = Store(tmp_path).declaration()
    sizes = {label: each["value"] for label, each in declared["budget"]["matched"].items()}
    assert sizes == {"heads=4": 101, "heads=1": 111, "heads=2": 122}
    changed = {each["label"]: each["changed"].get("model.ffn_size") for each in declared["variants"]}
    assert changed == sizes
    assert all(
        Store(tmp_path).plan().config(slot).model.ffn_size == sizes[slot.label] for slot in Store(tmp_path).plan().slots
    )
