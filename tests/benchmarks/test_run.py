"""The benchmark from its command line: figures that agree with each other, and files only when asked for."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import measure
from benchmarks.record import append, command_line
from benchmarks.run import main
from transformer_jax import config_file
from transformer_jax.train import flops

ROOT = Path(__file__).parents[2]
LM = f"--config={ROOT}/configs/lm_web.py:smoke"
FIELDS = {
    "date", "command", "config", "fingerprint", "synthetic", "machine", "versions", "model", "batch", "repeats",
    "updates_per_dispatch", "tokens_per_second", "step_ms", "mfu", "compile_seconds", "memory", "loss", "skipped",
}  # fmt: skip


def files(*folders):
    return [
        sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file())
        for folder in folders
    ]


def assert_sane(record):
    assert record.keys() == FIELDS
    speed, step, batch = record["tokens_per_second"], record["step_ms"], record["batch"]
    assert 0 < speed["min"] <= speed["median"] <= speed["max"]
    assert speed["max"] * step["min"] / 1e3 == pytest.approx(batch["tokens_per_update"])
    assert speed["min"] * step["max"] / 1e3 == pytest.approx(batch["tokens_per_update"])
    assert batch["tokens_per_update"] == pytest.approx(batch["fill"] * batch["rows"] * batch["positions_per_row"])
    assert record["compile_seconds"] > 0 and record["skipped"] == 0
    memory, model = record["memory"], record["model"]
    # The program takes the parameters and AdamW's two moments, and gives them back in place.
    assert memory["argument"] >= memory["alias"] >= 3 * 4 * model["parameters"] and memory["temp"] > 0
    assert 0 < record["loss"] < 2 * math.log(model["vocabulary"])


def test_real_data_is_measured_and_recorded(tmp_path, capsys):
    flags = [LM, "--repeats=3", "--steps=2", "--record", f"--out={tmp_path}"]
    assert main(["train", *flags]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("tokens/s", "MFU", "peak memory", "compile", "lm_web:smoke"))
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert_sane(record)
    assert record["config"] == "lm_web:smoke" and not record["synthetic"]
    assert record["model"]["vocabulary"] == 2048 and 0.5 < record["batch"]["fill"] <= 1
    assert record["repeats"] == 3 and record["updates_per_dispatch"] == 2
    assert (record["mfu"] is None) == (jax.default_backend() == "cpu")
    assert record["versions"].keys() == {"jax", "jaxlib", "flax", "optax", "python"}
    command = "python -m benchmarks.run train --config=configs/lm_web.py:smoke --repeats=3 --steps=2"
    assert record["command"] == command
    # The table's header is written once, and nothing says where this machine keeps its files.
    append(record, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("|")]
    assert len(rows) == 4 and rows[0].startswith("| date | device | config | tokens/s") and f"`{command}`" in rows[2]
    assert len({row.count("|") for row in rows}) == 1
    recorded = page + (tmp_path / "results.jsonl").read_text()
    assert str(ROOT) not in recorded and str(tmp_path) not in recorded


@pytest.fixture
def compiled():
    """The names of the functions that are compiled from here on."""
    names = []

    def listen(event, _seconds, *, fun_name="", **_):
        if event.endswith("backend_compile_duration"):
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
def test_random_tokens_take_the_vocabulary_asked_for(tmp_path, monkeypatch, capsys, compiled):
    monkeypatch.setattr(measure.data_lib, "load", lambda *_: pytest.fail("a corpus was read"))
    recorded = {}
    monkeypatch.setattr("benchmarks.record.table", lambda record: recorded.update(record) or "table")
    here = ROOT / "benchmarks"
    before = files(tmp_path, here)
    flags = [f"--config={ROOT}/configs/encoder_decoder_124m.py:smoke", "--synthetic", "--vocab=300", "--repeats=2"]
    assert main(["train", *flags, "--config.model.stack=scan", f"--out={tmp_path}"]) == 0
    assert files(tmp_path, here) == before  # without --record
    assert capsys.readouterr().out == "table\n"
    assert_sane(recorded)
    assert recorded["synthetic"] and recorded["batch"]["fill"] == 1 and recorded["model"]["vocabulary"] == 300
    assert recorded["loss"] > math.log(297) / 2  # random tokens cannot be predicted
    # What is timed is what was compiled ahead of time.
    assert len([name for name in compiled if "steps" in name]) == 1


@pytest.mark.parametrize("name", ["lm_web", "encoder_decoder_124m"])
def test_random_batches_look_like_real_ones(name):
    config = config_file.load(f"{ROOT}/configs/{name}.py:smoke", {"data.tokenizer": "byte"})
    _, (real,) = measure._batches(config, measure.Options(repeats=1, steps=1))
    vocab, (random,) = measure._batches(config, measure.Options(repeats=1, steps=1, vocab=9))
    assert vocab == 9 and random.tokens_BL.min() >= 3 and random.tokens_BL.max() == 8
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), real, random)
    assert (random.tokens_BL[:, 1:] == random.targets_BL[:, :-1]).all()


def test_utilisation_is_of_all_devices(monkeypatch):
    device = SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(jax, "devices", lambda: [device, device])
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert flops.utilisation(989e12) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "flags, expected",
    [
        (["--config=/no/such.py"], "no such file"),
        ([LM, "--repeats=0"], "--repeats=0: give 1 or more"),
        ([LM, "--synthetic"], "--synthetic and --vocab=N go together"),
        ([LM, "--vocab=9"], "--synthetic and --vocab=N go together"),
        ([LM, "--synthetic", "--vocab=3"], "--vocab=3: give 4 or more"),
        ([LM, "--record", "--out=/no/such"], "--out=/no/such is no folder"),
        ([LM, "--config.model.positon=rope"], "did you mean 'model.position'?"),
        ([LM, "--recrod"], "unknown argument '--recrod'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_mistakes_get_one_clear_message(flags, expected, capsys):
    assert main(["train", *flags]) == 2
    seen = capsys.readouterr()
    assert seen.err.startswith("error: ") and expected in seen.err and not seen.out


def test_a_model_that_does_not_fit_is_told_so(monkeypatch, capsys):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(measure, "_timed", full)
    assert main(["train", LM, "--synthetic", "--vocab=300"]) == 2
    assert "data.batch_size=4 does not fit" in capsys.readouterr().err


def test_the_command_forgets_the_folders_of_this_machine():
    argv = ["train", "--config=/home/me/x/big.py:cpu", "--config.data.corpus=text(path='~/secret/a.txt')", "--record"]
    shown = command_line([*argv, "--out=/home/me", "--config.data.tokenizer=bpe(vocab=300)"])
    assert "--config=big.py:cpu" in shown and "a.txt" in shown and "'bpe(vocab=300)'" not in shown.split()
    assert not any(word in shown for word in ("/home", "me/", "secret", "--record", "--out"))
