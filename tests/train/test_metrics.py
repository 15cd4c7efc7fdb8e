"""metrics.jsonl on disks that are full, and after kills."""

import json
from pathlib import Path

import pytest

from transformer_jax.study.store import read_run
from transformer_jax.train import metrics as metrics_lib
from transformer_jax.train.metrics import Metrics


def curve(workdir):
    return read_run(workdir, "", 0).curve("train/loss")


def test_a_torn_line_takes_no_other_with_it(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 5.0}\n{"step": 2, "tra')
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.write(2, {"train/loss": 4.0})
    metrics.close()
    assert curve(tmp_path) == {1: 5.0, 2: 4.0}


def test_what_a_power_cut_leaves_is_read_over(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "train/loss": 5.0}\n' + bytes(100) + b"\xff\n[]\n3\n")
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.write(2, {"train/loss": 4.0})
    metrics.close()
    assert curve(tmp_path) == {1: 5.0, 2: 4.0}


def test_a_line_that_does_not_fit_is_not_begun(tmp_path, monkeypatch):
    """A disk takes a part of a line before it says that it is full."""
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.write(1, {"train/loss": 5.0})
    file = metrics._file

    class Full:
        room = 7

        def write(self, line):
            if not self.room:
                raise OSError(28, "No space left on device")
            self.room = 0
            return file.write(line[:7])

        def __getattr__(self, name):
            return getattr(file, name)

    metrics._file = Full()
    with pytest.raises(OSError, match=r"No space left on device: .*metrics\.jsonl"):
        metrics.write(2, {"train/loss": 4.0})
    metrics.close()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1]


def test_tensorboard_on_a_full_disk_does_not_hang(tmp_path, monkeypatch):
    """Its own writer has a thread, whose death its queue does not notice."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    monkeypatch.setattr(metrics_lib, "_FLUSH_SECONDS", -1.0)
    metrics = Metrics(tmp_path, tensorboard=True)
    metrics._events.close()
    monkeypatch.setattr(metrics._events, "_writer", Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        metrics.write(1, {"train/loss": 5.0, "valid/loss": 4.0})
    metrics.close()
    assert curve(tmp_path) == {1: 5.0}
