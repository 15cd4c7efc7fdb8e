"""kill -9 while a study trains, twice, and the same command again: as if nothing had happened."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transformer_jax import __main__ as cli

STUDY = """
from population_cases import tiny
from transformer_jax.study import Goal, Study, param

def get_study(mode=None):
    base = tiny(train__steps=120, train__eval_every=40, run__checkpoint_every=20, run__log_every=20)
    base.run.keep_checkpoints = 1
    grid = param("model.position", ["rope", "alibi", "none"], name="")
    return Study("killed", "Does a kill change anything?", base, grid, "rope", seeds=4, goal=Goal("valid/loss"))
"""
# What was measured of speed, and where it lies, is not the same twice.
UNEQUAL = {"tokens_per_second", "seconds", "compile_seconds", "directory", "speed", "speed_ratio"}


def rows(path):
    with path.open() as file:
        return [{key: value for key, value in row.items() if key not in UNEQUAL} for row in csv.DictReader(file)]


def finished(directory):
    return {path: path.stat().st_mtime_ns for path in directory.glob("runs/*/result.json")}


@pytest.mark.slow
def test_a_study_that_was_killed_ends_as_an_undisturbed_one(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}

    def start(name):
        command = [sys.executable, "-m", "transformer_jax", "study", "run", str(tmp_path / "study.py")]
        return subprocess.Popen(
            [*command, f"--workdir={tmp_path / name}"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def killed_when(condition):
        process = start("killed")
        deadline = time.monotonic() + 300
        while not condition() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return finished(tmp_path / "killed")

    # Once in the midst of the first unit's checkpoints, once when the second unit has begun.
    early = killed_when(lambda: any(tmp_path.glob("killed/runs/*/checkpoints/40.sha256.json")))
    assert early == {}
    late = killed_when(lambda: len({path.parent for path in tmp_path.glob("killed/runs/*/checkpoints/*.json")}) > 4)
    assert 4 <= len(late) < 12
    for name in ("killed", "whole"):
        process = start(name)
        told = process.communicate(timeout=600)[0]
        assert process.returncode == 0, told
        assert cli.main(["study", "report", str(tmp_path / name)]) == 0
    after = finished(tmp_path / "killed")
    assert len(after) == 12 and late.items() <= after.items()  # what was done was left alone
    for table in ("results.csv", "comparisons.csv"):
        whole, again = (rows(tmp_path / name / "report" / table) for name in ("whole", "killed"))
        assert whole == again and len(whole) >= 3
    # No step of a run was logged by a process that came after its end, and none is missing.
    for path in after:
        steps = [line for line in (path.parent / "metrics.jsonl").read_text().splitlines() if '"train/loss"' in line]
        assert len(steps) >= 6
