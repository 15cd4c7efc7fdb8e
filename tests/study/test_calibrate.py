"""Calibration and planning read studies whose truth is known."""

import json

import numpy as np
import pytest
from scipy import stats
from study.report_fakes import write_study

from transformer_jax import __main__ as cli
from transformer_jax.errors import UserError
from transformer_jax.study.calibrate import calibrate
from transformer_jax.study.planning import power_of_study


def simulated(tmp_path, seeds, effect, *, wrong=0.0, null_sd=0.1):
    """A study whose `again` is the baseline with other noise, and whose `worse` is worse by `effect` sds of 0.1."""
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.5, seeds)
    values = {
        "baseline": shared + rng.normal(0, 0.1 / 2**0.5, seeds),
        "again": shared + rng.normal(wrong, null_sd / 2**0.5, seeds),
        "worse": shared + rng.normal(effect * 0.1, 0.1 / 2**0.5, seeds),
    }
    made = [("baseline", {}), ("again", {"init_salt": 1}), ("worse", {"optim.learning_rate": 1e-3})]
    return write_study(
        tmp_path, made, lambda label, seed: float(values[label][seed]), seeds=tuple(range(seeds)), steps=1
    )


def test_the_shares_are_those_of_the_simulation(tmp_path, capsys):
    directory = simulated(tmp_path, 60 + 400, effect=2.0)
    again, worse = calibrate(directory, pairs=4, pilot=60)
    assert again.null and not worse.null
    assert (again.different.n, worse.different.n) == (100, 100)
    assert again.holds and again.predicted == 0.05 and again.different.value < 0.15
    # The power of a paired t-test of 4 pairs for an effect of 2 sds, from the noncentral t distribution.
    critical = stats.t.ppf(0.975, 3)
    power = stats.nct.sf(critical, 3, 2.0 * 4**0.5)
    assert worse.predicted_low < power < worse.predicted_high and worse.holds
    assert worse.different.low < power < worse.different.high
    assert worse.wrong == 0 and worse.effect == pytest.approx(0.2, abs=0.04)
    assert cli.main(["study", "calibrate", str(directory), "--pairs=4", f"--write={tmp_path}/t.md"]) == 0
    assert "again: nothing differs; called different in" in capsys.readouterr().out
    assert "| worse | 4 | 100 |" in (tmp_path / "t.md").read_text()


def test_a_null_that_is_none_is_found_out(tmp_path, capsys):
    directory = simulated(tmp_path, 8 + 160, effect=0.0, wrong=0.2)
    again, worse = calibrate(directory, pairs=4, pilot=8)
    assert not again.holds and again.different.low > 0.05
    assert worse.different.value < 0.2  # nothing is there
    assert cli.main(["study", "calibrate", str(directory), "--pilot=8"]) == 1


@pytest.mark.parametrize(
    ("options", "told"), [({}, "need 140, or"), ({"pairs": 1}, "--pairs=1"), ({"pilot": 1}, "give 2")]
)
def test_what_cannot_be_calibrated(tmp_path, options, told):
    with pytest.raises(UserError, match=told):
        calibrate(simulated(tmp_path, 12, 1.0), **options)


def test_power_says_how_many_seeds(tmp_path, capsys):
    directory = simulated(tmp_path, 40, effect=1.0)
    plan = power_of_study(directory, effects=[0.1, 0.3])
    assert (plan.seeds, plan.tests) == (40, 2) and plan.noise.sd == pytest.approx(0.1, rel=0.2)
    small, large = plan.rows
    assert large.seeds < small.seeds
    # One seed fewer is not enough, by the noncentral t distribution at alpha / 2 (one tail decides).
    for row in plan.rows:
        for seeds, enough in ((row.seeds, True), (row.seeds - 1, False)):
            critical = stats.t.ppf(1 - 0.05 / 4, seeds - 1)
            found = stats.nct.sf(critical, seeds - 1, row.effect / plan.noise.sd * seeds**0.5)
            assert (found >= 0.8) == enough
    assert plan.now[1] > plan.now[0] > 0.9
    assert cli.main(["study", "power", str(directory), "--effect=0.1", "--effect=0.3"]) == 0
    shown = capsys.readouterr().out
    assert f"{small.seeds}" in shown and "power with 40 seeds" in shown


def test_power_counts_what_claims_ask_for_and_knows_what_sign_flips_cannot_reach(tmp_path):
    directory = simulated(tmp_path, 5, effect=1.0)
    study = json.loads((directory / "study.json").read_text())
    claims = [
        {"text": "worse > again", "left": "worse", "relation": ">", "right": "again", "metric": None, "source": "x"},
        {
            "text": "worse > baseline",
            "left": "worse",
            "relation": ">",
            "right": "baseline",
            "metric": None,
            "source": "x",
        },
    ]
    (directory / "study.json").write_text(json.dumps(study | {"claims": claims, "test": "sign_flip"}))
    plan = power_of_study(directory, effects=[0.3])
    assert plan.tests == 3  # the claim about the baseline has its comparison already
    assert plan.now == (0.0,) and plan.rows[0].seeds == 7  # 2 / 2^7 is the first below 0.05 / 3


def test_the_declared_test_is_what_is_calibrated(tmp_path):
    """Four pairs are out of the sign-flip test's reach: it finds nothing, however large the effect."""
    directory = simulated(tmp_path, 20 + 80, effect=5.0)
    assert calibrate(directory, pairs=4, pilot=20)[1].different.found > 10
    study = json.loads((directory / "study.json").read_text())
    (directory / "study.json").write_text(json.dumps(study | {"test": "sign_flip"}))
    worse = calibrate(directory, pairs=4, pilot=20)[1]
    assert worse.different.found == 0 and not worse.holds


@pytest.mark.parametrize("flag", ["--effect=-1", "--power=1.5", "--power=0"])
def test_power_refuses_what_makes_no_sense(tmp_path, flag, capsys):
    assert cli.main(["study", "power", str(simulated(tmp_path, 4, 1.0)), flag]) == 2
    assert flag.partition("=")[0] in capsys.readouterr().err
