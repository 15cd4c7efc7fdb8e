"""From a trained run to its ranking, its picture and a smaller run."""

import json
from pathlib import Path

import pytest

from transformer_jax.__main__ import main
from transformer_jax.decode.generator import Generator, load_run
from transformer_jax.errors import UserError
from transformer_jax.inspect.run import inspect_heads, prune_run

CONFIG = Path(__file__).parents[2] / "configs" / "lm_heads.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("heads") / "run"
    # 2 layers of 8 heads; enough rows for two batches of a small split.
    assert main(["train", f"--config={CONFIG}:smoke", f"--workdir={workdir}"]) == 0
    return workdir


def test_heads_are_ranked_and_drawn(workdir, capsys):
    assert main(["inspect", "heads", f"--workdir={workdir}", "--batches=2"]) == 0
    out = capsys.readouterr().out
    assert out.count("decoder.attention") == 16 and "heads left" in out
    assert (workdir / "heads.png").stat().st_size > 10_000
    told = json.loads((workdir / "heads.json").read_text())
    assert {len(curve) for several in told["curves"].values() for curve in several} == {17}
    # All orders begin with every head and end with none.
    ends = {(curve[0], curve[-1]) for several in told["curves"].values() for curve in several}
    assert len({round(first, 4) for first, _ in ends}) == len({round(last, 4) for _, last in ends}) == 1


def test_a_pruned_run_is_a_run(workdir, tmp_path):
    told = prune_run(workdir, tmp_path / "small", keep=5, by="leave_one_out", split="valid", batches=1)
    assert told["difference"] < 1e-4 and told["parameters"][1] < told["parameters"][0]
    small = load_run(tmp_path / "small")
    assert len(Generator.of(small).complete(["In the"], max_new=4)) == 1
    assert main(["evaluate", f"--workdir={tmp_path / 'small'}", "--split=valid"]) == 0
    again = prune_run(tmp_path / "small", tmp_path / "smaller", keep=1, by="importance", split="valid", batches=1)
    assert again["heads"] == 5 and again["difference"] < 1e-4


def test_mistakes_are_told_and_cost_nothing(workdir, tmp_path):
    with pytest.raises(UserError, match="--keep=16: the model has 16 heads"):
        prune_run(workdir, tmp_path / "none", keep=16, by="importance", split="valid", batches=1)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="ranking and measuring"):
        inspect_heads(workdir, split="valid", batches=1)
