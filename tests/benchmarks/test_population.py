"""The benchmark of populations: its arithmetic, and one small run of it."""

import pytest
from population_cases import tiny

from benchmarks.population import WAYS, Timing, measure, table
from benchmarks.run import main
from transformer_jax import config as config_lib


def test_the_table_has_ratios_of_turns():
    walls = {"together": (10, 20), "in turn": (15, 40), "processes": (50, 40)}
    found = [
        Timing(way, walls[way][turn], 4.0, 1.5, 1000.0, 2**20, (2.0, 3.0 + 1e-6 * (way == "in turn")))
        for turn in (0, 1)
        for way in WAYS
    ]
    text = table(found, "title")
    assert "| together | 15.0 s (10.0 to 20.0) | 4.0 s | 1.5 s | 9.5 s | 1,000 | 1 MiB |" in text
    assert "in turn / together: 1.75 (1.50 to 2.00)" in text and "processes / together: 3.50 (2.00 to 5.00)" in text
    assert "1.0e-06 nats" in text


@pytest.mark.parametrize(("flag", "told"), [("--runs=1", "give 2 or more"), ("--repeats=0", "give 1 or more")])
def test_what_cannot_be_measured_is_refused(flag, told, capsys):
    assert main(["population", "--config=configs/small_lm.py", flag]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_every_way_trains_the_same_runs():
    found = measure(config_lib.to_dict(tiny()), runs=2, repeats=1, tell=lambda line: None)
    assert [timing.way for timing in found] == list(WAYS)
    for timing in found:
        assert timing.losses == pytest.approx(found[0].losses, rel=1e-5)
        assert timing.rest > 0 and timing.updates > 0 and timing.compiling > 0 and timing.tokens_per_second > 0
