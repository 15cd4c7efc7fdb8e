"""The program that is planned with is the program that trains, and what a compiler says of it is passed on whole."""

from importlib.util import find_spec

import jax
import pytest
from models import small_config

from transformer_jax import data as data_lib
from transformer_jax.errors import UserError
from transformer_jax.parallel.mesh import make_mesh
from transformer_jax.plan import topologies
from transformer_jax.plan.collectives import by_axes
from transformer_jax.plan.compiled import (
    DoesNotFit,
    batch_structs,
    compile_apart,
    compile_step,
    hyper_structs,
    told_by,
    warnings,
)
from transformer_jax.train.evaluation import place
from transformer_jax.train.hyper import Hyper
from transformer_jax.train.loop import compiled_program

VOCAB = 300
needs_libtpu = pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu compiles for TPUs")


@pytest.mark.parametrize("family", ["decoder_only", "encoder_decoder", "prefix_lm"])
def test_structs_are_those_of_training(family):
    config = small_config(family=family, dropout=0.1, head_mask="all")
    data = data_lib.load(config.data, config.seed)
    program = compiled_program(config, data.vocab_size, make_mesh(config.mesh, jax.devices()[:1]))
    hyper = program.place([Hyper.from_config(config, program.arch)])
    iterator = data.train_iterator()
    batch = place(program, jax.tree.map(lambda x: x[None], next(iterator)), leading=1)
    iterator.close()
    real = program.lower_train(program.init(hyper), batch, hyper)
    structs = program.all_structs, batch_structs(config, program), hyper_structs(config, program)
    assert program.lower_train(*structs).as_text() == real.as_text()


def test_step_on_one_device():
    config = small_config()
    config.data.corpus = "text(path='nowhere.txt')"  # which is not read
    compiled = compile_step(config, {}, jax.devices()[:1], VOCAB)
    memory = compiled.memory
    assert memory["total"] == sum(memory.values()) - memory["total"] - 2 * memory["aliased"]
    assert compiled.collectives == [] and compiled.notes == () and compiled.seconds > 0
    assert config.mesh.data == -1, "the config given is not changed"


def test_step_on_eight_devices():
    config = small_config(width=64, layers=4)
    config.data.batch_size = 8
    [one, eight] = [compile_apart(config, sizes, machine, VOCAB) for sizes, machine in CASES]
    assert by_axes(one.collectives) == {}
    assert eight.mesh == {"replica": 1, "data": 2, "fsdp": 4, "tensor": 1, "context": 1, "expert": 1}
    sent = by_axes(eight.collectives)
    assert sent[("fsdp",)] > 0 and sent[("data",)] > 0 and {axis for axes in sent for axis in axes} == {"data", "fsdp"}
    # Parameters and both moments lie on four devices each.
    assert eight.memory["aliased"] < 0.3 * one.memory["aliased"]


CASES = (({"fsdp": 1}, "cpu:1"), ({"data": 2, "fsdp": 4}, "cpu:8"))


def test_mesh_of_another_size():
    with pytest.raises(UserError, match="2 devices"):
        compile_step(small_config(), {"data": 2}, jax.devices()[:1], VOCAB)


def test_compiler_that_crashes(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "no_such_platform")
    with pytest.raises(UserError, match=r"compiler for cpu:2 ended with 1:(.|\n)*no_such_platform"):
        compile_apart(small_config(), {"data": 2}, "cpu:2", VOCAB)


@pytest.mark.parametrize(
    "message, needed, available",
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 33.40G of 15.75G hbm.", 33.4, 15.75),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (272.11G) "
            "exceeds available HBM (15.75G).",
            272.11,
            15.75,
        ),
        ("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error.\nUsed 2.5T of 95.74G hbm.", 2560, 95.74),
        ("RESOURCE_EXHAUSTED: no figures", None, None),
    ],
)
def test_out_of_memory(message, needed, available):
    found = told_by(RuntimeError(message))
    assert isinstance(found, DoesNotFit)
    figures = [None if size is None else pytest.approx(size * 2**30) for size in (needed, available)]
    assert [found.needed, found.available] == figures
    assert "per device" in str(found) if needed else "no figures" in str(found)
    assert str(DoesNotFit(found.told)) == str(found), "as it comes from another process"


def test_another_refusal():
    found = told_by(RuntimeError("INTERNAL: something"))
    assert not isinstance(found, DoesNotFit) and "INTERNAL: something" in str(found)


def test_warnings():
    stderr = (
        "I0000 nothing\nE0000 00:00:1 12 spmd_partitioner.cc:630] [spmd] Involuntary full rematerialization. The "
        "compiler was not able to go from sharding {a} to {b} for HLO operation %x = f32[8]\nI0000 nothing\n"
    )
    assert warnings(stderr * 2) == [
        "Involuntary full rematerialization. The compiler was not able to go from sharding {a} to {b} for HLO "
        "operation %x = f32[8]"
    ]


def test_what_is_not_installed_is_named():
    for machine, package, extra in (("v5e:2x2", "libtpu", "tpu"), ("8xH100", "jax_cuda12_plugin", "plan-gpu")):
        if find_spec(package) is None:
            with pytest.raises(UserError, match=rf"pip install \"transformer_jax\[{extra}\]\""):
                topologies.devices(machine)


def test_too_many_fake_devices():
    with pytest.raises(UserError, match=r"cpu:999.*this process has"):
        topologies.devices("cpu:999")


@pytest.mark.tpu
@needs_libtpu
def test_tpu():
    config = small_config(dtype="bfloat16", width=128)
    config.data.batch_size = 8
    compiled = compile_apart(config, {"fsdp": 2, "tensor": 2}, "v5e:2x2", VOCAB)
    assert {axis for axes in by_axes(compiled.collectives) for axis in axes} == {"fsdp", "tensor"}
    assert compiled.memory["total"] < 2**30


@pytest.mark.tpu
@needs_libtpu
def test_tpu_is_too_small():
    config = small_config(dtype="bfloat16", width=8192)
    config.data.batch_size, config.data.length = 4, 16384
    with pytest.raises(DoesNotFit) as found:
        compile_apart(config, {"data": 4}, "v5e:2x2", VOCAB)
    assert found.value.needed > found.value.available == pytest.approx(15.75 * 2**30)
