"""Contests: who is compared with whom, what is refused, and what becomes of contestants that die or hang."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import contest_table, record, versus
from benchmarks.contest import Contestant, Found, contest, ratios, spread
from benchmarks.peers import peers
from benchmarks.peers.base import shown
from benchmarks.run import main
from benchmarks.worker import Worker
from transformer_jax import config_file
from transformer_jax.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "benchmarks" / "configs"
LM = f"--config={CONFIGS}/decoder_2x128.py:smoke"
TINY = {"model.layers": "1", "model.width": "16", "model.heads": "2", "data.length": "8", "data.batch_size": "2"}

# Answers every message; what it is told to do at one of them decides how it fails there.
FAKE = """
import json, os, sys, time
for line in sys.stdin:
    message = json.loads(line)
    seconds = float(os.environ.get("SECONDS", 1))
    reply = {"seconds": seconds, "pid": os.getpid(), "data": int(os.environ.get("DATA", 7))}
    reply["compiling"] = {"compile": seconds}
    reply["machine"] = {"device_count": 1, "device_kind": "cpu", "platform": "cpu"}
    if message["do"] == os.environ.get("AT"):
        print("the reason", file=sys.stderr, flush=True)
        exec(os.environ["DOES"])
    print(json.dumps(reply), flush=True)
"""


def fake(name, ours=False, **environment):
    return Contestant(name, (sys.executable, "-c", FAKE), environment=environment, ours=ours)


def task(kind="train", config="decoder_2x128", overrides=None, **given):
    loaded = config_file.load(f"{CONFIGS}/{config}.py", TINY | (overrides or {}))
    return versus.task_of(loaded, kind, None, **given)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_every_round_has_everyone_and_another_order():
    lines = []
    found = contest([fake("a", ours=True), fake("b", SECONDS="2"), fake("c")], 3, tell=lines.append)
    assert [own.seconds for own in found] == [[1.0] * 3, [2.0] * 3, [1.0] * 3]
    assert [line.split()[2] for line in lines if line.startswith("round")] == list("abc") + list("acb") + list("cab")
    assert ratios(found[0], found[1]) == [2.0] * 3 and all(own.failed is None for own in found)
    assert all(gone(own.built["pid"]) for own in found)


def test_who_dies_or_hangs_is_out_and_the_others_go_on():
    lines, started = [], time.monotonic()
    others = [
        fake("dies", AT="run", DOES="sys.exit(3)"),
        fake("hangs", AT="build", DOES="time.sleep(60)"),
        fake("refuses", AT="build", DOES="reply = {'error': 'no such thing'}"),
        Contestant("missing", ("/no/such/python",)),
    ]
    found = {own.name: own for own in contest([fake("ours", ours=True), *others], 2, limit=2, tell=lines.append)}
    assert found["ours"].seconds == [1.0, 1.0] and found["ours"].report["pid"]
    assert found["dies"].failed == "died at 'run' (exit status 3)" and found["dies"].told == "the reason"
    assert found["hangs"].failed == "no answer to 'build' within 2 s"
    assert found["refuses"].failed == "no such thing"
    assert found["missing"].failed == "cannot be started: No such file or directory"
    assert any("dies" in line and "the reason" in line for line in lines) and time.monotonic() - started < 30


def test_without_ours_there_is_no_contest():
    with pytest.raises(UserError, match=r"ours: died at 'run' \(signal 9\)\n    the reason"):
        contest([fake("ours", ours=True, AT="run", DOES="os.kill(os.getpid(), 9)"), fake("b")], 1)


def test_an_interrupt_ends_all():
    pids = []

    class Interrupting(list):
        def append(self, line):
            if line == "round 1: b 1.000 s":
                raise KeyboardInterrupt

    slow = "import subprocess; subprocess.Popen(['sleep', '60'])"  # and what they have started
    everyone = [fake("a", ours=True, AT="build", DOES=slow), fake("b")]
    import benchmarks.contest as module

    ask = module._Worker.ask

    def asked(worker, message):
        reply = ask(worker, message)
        pids.append(reply["pid"])
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Worker, "ask", asked)
        with pytest.raises(KeyboardInterrupt):
            contest(everyone, 2, tell=Interrupting().append)
    assert len(set(pids)) == 2 and all(map(gone, pids))


def test_all_compute_on_the_same_data():
    with pytest.raises(UserError, match="do not compute on the same data"):
        contest([fake("a", ours=True), fake("b", DATA="8")], 1)


def test_spread_and_ratios_are_of_rounds():
    assert spread([3, 1, 2, 10]) == {"median": 2.5, "min": 1, "max": 10, "q1": 1.75, "q3": 4.75}
    assert spread([5.0]) == dict.fromkeys(("median", "min", "max", "q1", "q3"), 5.0)
    ours, theirs = Found("a", True, [1.0, 2.0, 4.0]), Found("b", False, [2.0, 2.0, 2.0])
    assert ratios(ours, theirs) == [2.0, 1.0, 0.5]  # above 1, ours is faster


def found_of(task, name, seconds, ours=False):
    report = {
        "parameters": 1000 if ours else 1100, "differences": ["x; y"], "peak_bytes": 3 * 2**20, "machine": None,
        "device_peak_bytes": None, "versions": {"python": "3.11" if ours else "3.12", "torch": "1"},
    }  # fmt: skip
    if ours:
        report["machine"] = {"device_count": 1, "device_kind": "cpu", "platform": "cpu"}
    built = {"compiling": {"trace": 1.0, "compile": 2.5}, "first": {"seconds": 9.0, "loss": 5.0}}
    return Found(name, ours, seconds, [0.01] * len(seconds), built, {"loss": 4.0}, report)


def test_the_record_has_every_round_and_the_table_the_ratios():
    here = task(updates=2)
    out = Found("out", False, failed="died at 'run' (exit status 3)", told="/home/me/secret")
    found = [found_of(here, "ours", [1.0, 2.0, 1.0], ours=True), found_of(here, "b", [2.0, 3.0, 4.0]), out]
    made = contest_table.record_of(here, found, 3)
    assert here.tokens == 2 * 2 * 8
    ours, other, failed = made["contestants"]
    assert other["ratio"]["rounds"] == [2.0, 1.5, 4.0] and other["ratio"]["median"] == 2.0 and "ratio" not in ours
    assert ours["tokens_per_second"]["median"] == 32.0 and failed == {"name": "out", "failed": out.failed}
    assert made["versions"]["python"] == "3.11 / 3.12"
    text = contest_table.table(made | {"date": "2026-11-24", "config": "c", "command": "run it"})
    assert "| b | 1,100 (+10.0%) | 11 (8 to 16) | 2.00 (1.50 to 4.00) | 3.5 s | 3 MiB | 5.00 to 4.00 | x; y |" in text
    assert "secret" not in text + json.dumps(made) and "Other processes" not in text
    found[1].others[2] = 1.26
    text = contest_table.table(contest_table.record_of(here, found, 3) | {"date": "", "config": "", "command": ""})
    assert "**Other processes kept up to 1.3 cores busy in 1 of 6 turns: measure again.**" in text


def test_compile_seconds_are_compared_depth_by_depth():
    here = task()
    slow = found_of(here, "b", [])
    slow.built = {"compiling": {"compile": 7.0}}
    depths = {6: [[found_of(here, "ours", [], ours=True), slow]], 48: [[found_of(here, "ours", [], ours=True), slow]]}
    made = contest_table.compile_record_of(here, depths)
    assert [row["layers"] for row in made["rows"]] == [6, 6, 48, 48] and made["rows"][3]["ratio"]["median"] == 2.0
    text = contest_table.compile_table(made | {"date": "2026-11-24", "config": "c", "command": "run it"})
    assert "| 48 | ours | 1.0 s | 2.5 s | 3.5 (3.5 to 3.5) s | 1.00 x |  |" in text
    assert "| 48 | b |  | 7.0 s | 7.0 (7.0 to 7.0) s | 1.00 x | 2.00 (2.00 to 2.00) |" in text


def test_compile_starts_everyone_anew_at_every_depth(monkeypatch, tmp_path, capsys):
    started = []

    def fakes(args, specs, task):
        started.append((task.model["layers"], specs))
        return [fake("ours", ours=True), fake("gpt2", SECONDS="3")]

    monkeypatch.setattr(versus, "_contestants", fakes)
    flags = ["--layers=1,3", "--repeats=2", "--peer=gpt2", "--record", f"--out={tmp_path}"]
    assert main(["compile", LM, *flags]) == 0
    assert started == [(layers, ["ours", "gpt2"]) for layers in (1, 1, 3, 3)]
    told = capsys.readouterr()
    assert "| 3 | gpt2 |  | 3.0 s | 3.0 (3.0 to 3.0) s | 1.00 x | 3.00 (3.00 to 3.00) |" in told.out
    assert told.err.splitlines()[4:6] == ["gpt2: ready", "ours: ready"]  # the second start goes backwards
    made = json.loads((tmp_path / "results.jsonl").read_text())
    assert made["command"].startswith("python -m benchmarks.run compile --config=benchmarks/configs/decoder_2x128.py")
    assert [row["ratio"]["median"] for row in made["rows"] if row["name"] == "gpt2"] == [3.0, 3.0]


def test_contests_follow_the_table_of_runs(tmp_path):
    (tmp_path / "RESULTS.md").write_text("# Measured speed\n\n| date |\n| --- |\n| a |\n")
    record.append_section({"contest": "train"}, "### a contest\n\n| b |\n", tmp_path)
    top, rest = record._page(tmp_path)
    assert top.endswith("| a |\n") and rest == "\n### a contest\n\n| b |\n"
    assert (tmp_path / "results.jsonl").read_text() == '{"contest": "train"}\n'


def test_random_tokens_are_the_same_for_all():
    first, second = task(updates=2).batches()
    assert first["tokens"].shape == (2, 8) and (first["tokens"][:, 1:] == first["targets"][:, :-1]).all()
    assert first["tokens"].min() >= 3 and not (first["tokens"] == second["tokens"]).all()
    assert task(updates=2).checksum() == task(updates=2).checksum() != task(updates=1).checksum()
    pairs = task(config="encdec_3x256")
    assert pairs.batches()[0]["source"].shape == (2, 8) and pairs.tokens == 2 * 16


def test_names_have_no_folders():
    assert shown("nanogpt(path='/home/me/nanoGPT', compiled=True)") == "nanogpt(compiled=True)"
    assert "/home" not in record.command_line(
        ["train", "--peer=nanogpt(path='/home/me/nanoGPT')", "--python=/home/me/p"]
    )


def test_every_peer_says_what_differs_without_its_packages():
    for name in peers.names():
        peer = peers.build(name, task=task())
        assert all(isinstance(text, str) for text in [*peer.differences(), *peer.problems()]), name


@pytest.mark.parametrize(
    "flags, expected",
    [
        (["train", LM, "--peer=gpt3"], "unknown peer 'gpt3' (did you mean 'gpt2'?)"),
        (["train", LM, "--peer=gpt2(size=3)"], "has no argument 'size'"),
        (["train", LM, "--peer=gpt2", "--peer=gpt2"], "--peer=gpt2 is given twice"),
        (["train", LM, "--peer=ours"], "is the one that the others are compared with"),
        (["train", LM, "--peer=nanogpt"], "path='': give the folder that has model.py"),
        (["train", LM, "--peer=nanodo(path='/no/such')"], "give the folder that has nanodo/model.py"),
        (["train", LM, "--peer=gpt2", "--config.model.position=rope"], "model.position='rope': peers have learned"),
        (["train", LM, "--peer=gpt2", "--config.model.mixer=mha(kv_heads=2)"], "model.mixer='mha(kv_heads=2)'"),
        (["train", LM, "--peer=gpt2", "--config.model.dropout=0.1"], "model.dropout=0.1: peers have 0.0"),
        (["train", LM, "--peer=gpt2", "--config.model.head_size=3"], "model.head_size=3"),
        (["train", LM, "--peer=gpt2", "--config.optim.schedule=cosine"], "optim.schedule='cosine'"),
        (["train", LM, "--peer=wmt(path='/no')"], "model.family='decoder_only': it has encoder_decoder"),
        (["train", LM, "--peer=gpt2", "--vocab=3"], "--vocab=3: give 4 or more"),
        (["train", LM, "--peer=gpt2", "--limit=0"], "--limit=0: give a number of seconds above 0"),
        (["train", LM, "--peer=gpt2", "--record", "--out=/no/such"], "--out=/no/such is no folder"),
        (["decode", LM, "--peer=nanodo(path='/no')"], "it does not decode here"),
        (["decode", LM, "--rows=0"], "--rows=0: give 1 or more"),
        (["decode", LM, "--new=600"], "16 + 600 tokens are 616: give learned(length=616) or more"),
        (["decode", LM, "--rows=2", "--peer=lm1b"], "--rows=2: its sampler takes one row"),
        (["decode", f"--config={CONFIGS}/encdec_3x256.py"], "decoding is compared for 'decoder_only'"),
        (["compile", LM, "--layers=0,2"], "--layers=0,2: give 1 or more"),
    ],
    ids=lambda value: " ".join(value[0:1] + value[-1:]) if isinstance(value, list) else "",
)
def test_mistakes_get_one_clear_message(flags, expected, capsys):
    assert main(flags) == 2
    seen = capsys.readouterr()
    assert seen.err.startswith("error: ") and expected in seen.err and not seen.out


def test_sizes_that_only_some_peers_have_are_refused_for_the_others():
    other = task(overrides={"model.ffn_size": "48", "model.tied_embeddings": "false"})
    assert [len(peers.build(name, task=other).problems()) for name in ("gpt2", "x_transformers")] == [0, 0]
    found = "\n".join(peers.build("nanogpt", task=other).problems())
    assert "model.ffn_size=48: it has 4 x model.width = 64" in found and "model.tied_embeddings=False" in found


def test_our_own_train_step_trains():
    worker, here = Worker(), task(updates=2, overrides={"model.stack": "unroll"})
    built = worker.build("ours(set='model.stack=scan; model.remat=full')", json.loads(json.dumps(vars(here))))
    assert built["compiling"].keys() == {"trace", "compile"} and built["data"] == here.checksum()
    losses = [worker.run()["loss"] for _ in range(3)]
    assert np.isfinite(losses).all() and losses[-1] < built["first"]["loss"]
    report = worker.report()
    assert report["parameters"] > 16 * 259 and report["peak_bytes"] > 2**20 and "jax" in report["versions"]
    assert report["differences"] == ["stack scan", "remat full", "2 updates per dispatch"]


def test_our_own_decoder_writes_what_was_asked_for(tmp_path, capsys):
    flags = [f"--config.{key}={value}" for key, value in TINY.items()]
    sizes = ["--rows=2", "--prompt=3", "--new=5", "--repeats=2", "--record", f"--out={tmp_path}"]
    assert main(["decode", f"--config={CONFIGS}/decoder_2x128.py", *flags, *sizes]) == 0
    made = json.loads((tmp_path / "results.jsonl").read_text())
    (ours,) = made["contestants"]
    assert made["contest"] == "decode" and made["sizes"]["new"] == 5 and len(ours["seconds"]) == 2
    assert ours["tokens_per_second"]["max"] * min(ours["seconds"]) == pytest.approx(2 * 5)
    page = (tmp_path / "RESULTS.md").read_text()
    assert "### decode decoder_2x128" in page and "### decode decoder_2x128" in capsys.readouterr().out
    assert str(ROOT) not in page + json.dumps(made) and str(tmp_path) not in page + json.dumps(made)
