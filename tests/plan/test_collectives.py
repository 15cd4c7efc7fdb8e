"""What is counted in programs whose collectives are known: compiled for 8 fake devices, and written by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_jax.plan.collectives import KINDS, by_axes, by_kind, count, total

MESH = {"data": 2, "fsdp": 2, "tensor": 2}
PART = 4 * 2 * 4  # bytes that each device has of [16, 4] float32 over data x fsdp and tensor


@pytest.fixture(scope="module")
def texts():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    worker = Path(__file__).with_name("collectives_worker.py")
    done = subprocess.run([sys.executable, str(worker)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "program, kind, axes, sent, times",
    [
        ("scan", "all-reduce", ("fsdp",), PART, 5),
        ("nested scans", "all-reduce", ("fsdp",), PART, 12),
        ("several axes", "all-reduce", ("data", "tensor"), 2 * 3 / 4 * PART, 1),
        ("gather", "all-gather", ("tensor",), PART, 1),
        ("shift", "collective-permute", ("data",), PART, 1),
        ("scatter", "reduce-scatter", ("fsdp",), PART / 2, 1),
        ("exchange", "all-to-all", ("tensor",), PART / 2, 1),
        ("partitioned", "all-gather", ("fsdp",), 2 * 4 * 4, 1),
    ],
)
def test_compiled_program(texts, program, kind, axes, sent, times):
    [found] = count(texts[program], MESH)
    assert (found.kind, found.axes, found.bytes_sent_per_device, found.times) == (kind, axes, sent, times)
    assert total([found]) == sent * times


def test_dearest_branch_counts(texts):
    assert sum(found.times for found in count(texts["branches"], MESH)) == 2


def test_nothing_is_sent(texts):
    assert count(texts["none"], MESH) == []


def test_another_mesh(texts):
    with pytest.raises(ValueError, match="8 devices"):
        count(texts["scan"], {"data": 4})


def module(*lines: str, more: str = "", partitions: int = 8) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return (
        f"HloModule jit_f, num_partitions={partitions}\n{more}\n"
        f"ENTRY %main (p: f32[8,4]) -> f32[8,4] {{\n  %p = f32[8,4]{{1,0:T(8,128)S(1)}} parameter(0)\n{body}\n}}\n"
    )


def one(*lines: str, mesh=MESH, **options):
    [found] = count(module(*lines, **options), mesh)
    return found


SUM = "channel_id=1, use_global_device_ids=true, to_apply=%add"
GROUPS = {
    "listed": ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("tensor",), 2),
    "iota": ("replica_groups=[4,2]<=[8]", ("tensor",), 2),
    "transposed iota": ("replica_groups=[4,2]<=[2,4]T(1,0)", ("data",), 2),
    "iota of three": ("replica_groups=[4,2]<=[2,2,2]T(0,2,1)", ("fsdp",), 2),
    "two axes": ("replica_groups=[2,4]<=[2,2,2]T(1,0,2)", ("data", "tensor"), 4),
    "all": ("replica_groups={}", ("data", "fsdp", "tensor"), 8),
    "axis of a mesh": ("replica_groups=mesh['a'=1,'b'=4,'c'=2] {'c'}", ("tensor",), 2),
    "axes of a mesh": ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'a','c'}", ("data", "tensor"), 4),
    "no axis of a mesh": ("replica_groups=mesh['a'=8] {}", (), 1),
    "first part of an axis": ("replica_groups=mesh['a'=8] {'a':(1)2}", ("data",), 2),
    "middle of an axis": ("replica_groups=mesh['a'=8] {'a':(2)2}", ("fsdp",), 2),
    "both ends of an axis": ("replica_groups=mesh['a'=8] {'a':(1)2,'a':(4)2}", ("data", "tensor"), 4),
    "mesh in another order": ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}", ("tensor",), 2),
    "mesh of listed devices": ("replica_groups=mesh['a'=2,'b'=4], device_ids=(0,2,4,6,1,3,5,7) {'a'}", ("tensor",), 2),
    "all as iota": ("replica_groups=[1,8]<=[8]", ("data", "fsdp", "tensor"), 8),
}


@pytest.mark.parametrize("groups, axes, size", GROUPS.values(), ids=GROUPS)
def test_groups(groups, axes, size):
    found = count(module(f"ROOT %r = f32[8,4]{{1,0}} all-reduce(%p), {groups}, {SUM}"), MESH)
    expected = [(axes, size, 2 * (size - 1) / size * 128)] if axes else []
    assert [(each.axes, each.size, each.bytes_sent_per_device) for each in found] == expected


def test_part_of_an_axis():
    """A compiler may gather over 8 in two stages: pairs first."""
    found = one("ROOT %r = f32[16,4]{1,0} all-gather(%p), replica_groups=[4,2]<=[8], dimensions={0}", mesh={"fsdp": 8})
    assert (found.axes, found.size, found.bytes_sent_per_device) == (("fsdp",), 2, 128)


def test_groups_of_one_send_nothing():
    assert count(module("ROOT %r = f32[8,4] all-reduce(%p), replica_groups=[8,1]<=[8], to_apply=%add"), MESH) == []


def test_unknown_notation_is_refused():
    with pytest.raises(NotImplementedError, match="V9"):
        count(module("ROOT %r = f32[8,4] all-reduce(%p), replica_groups=V9(8), to_apply=%add"), MESH)


def test_asynchronous_forms_count_once():
    found = count(
        module(
            "%s = (f32[8,4]{1,0}, f32[16,4]{1,0}) all-gather-start(%p), replica_groups=[4,2]<=[8], dimensions={0}",
            "%d = f32[16,4]{1,0} all-gather-done(%s)",
            "%c = (f32[8,4], f32[8,4], u32[], u32[]) collective-permute-start(%p), source_target_pairs={{0,4},{4,0}}",
            "%e = f32[8,4]{1,0} collective-permute-done(%c)",
            "%a = ((f32[8,4]{1,0}), f32[4,4]{1,0}, u32[]) async-start(%p), calls=%wrapped",
            "ROOT %b = f32[4,4]{1,0} async-done(%a)",
            more="%wrapped (q: f32[8,4]) -> f32[4,4] {\n  %q = f32[8,4]{1,0} parameter(0)\n"
            "  ROOT %r = f32[4,4]{1,0} reduce-scatter(%q), replica_groups=[4,2]<=[8], dimensions={0}\n}\n",
        ),
        MESH,
    )
    assert by_kind(found) == {"all-gather": 128, "collective-permute": 128, "reduce-scatter": 64}
    assert by_axes(found) == {("tensor",): 192, ("data",): 128}


def test_several_arrays_in_one():
    found = one(
        "%h = bf16[3]{0} parameter(1)",
        "ROOT %r = (f32[8,4]{1,0}, /*index=1*/bf16[3]{0}) all-reduce(%p, %h), replica_groups=[4,2]<=[8], to_apply=%add",
    )
    assert found.bytes_sent_per_device == 128 + 6


def test_types_beside_operands():
    line = "ROOT %r = f32[8,4]{1,0} all-reduce(f32[8,4]{1,0:T(8,128)} %p), replica_groups=[4,2]<=[8], to_apply=%add"
    assert one(line).bytes_sent_per_device == 128


LOOP = """%body (t: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %t = (s32[], f32[8,4]{1,0}) parameter(0)
  %x = f32[8,4]{1,0} get-tuple-element(%t), index=1
  %r = f32[8,4]{1,0} all-reduce(%x), replica_groups=[4,2]<=[8], to_apply=%add
}
%less (a: s32[], b: s32[]) -> pred[] {
  ROOT %l = pred[] compare(%a, %b), direction=LT
}
%condition (t: (s32[], f32[8,4])) -> pred[] {
  %n = s32[] constant(7)
  ROOT %f = pred[] fusion(%t, %n), kind=kLoop, calls=%less
}
%endless (t: (s32[], f32[8,4])) -> pred[] {
  ROOT %f = pred[] get-tuple-element(%t), index=0
}
"""


def test_trip_counts():
    loop = "ROOT %w = (s32[], f32[8,4]) while(%p), body=%body, "
    known = 'condition=%endless, backend_config={"known_trip_count":{"n":"5"}}'
    assert one(loop + known, more=LOOP).times == 5
    assert one(loop + "condition=%condition", more=LOOP).times == 7
    with pytest.raises(NotImplementedError, match="w: how often"):
        count(module(loop + "condition=%endless", more=LOOP), MESH)


def test_reduce_scatter_of_tpus():
    fused = """%all-reduce-scatter.1 (q: f32[8,4]) -> f32[4,4] {
  %q = f32[8,4]{1,0} parameter(0)
  %r = f32[8,4]{1,0} all-reduce(%q), replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %s = f32[4,4]{1,0} dynamic-slice(%r), dynamic_slice_sizes={4,4}
}
"""
    found = one("ROOT %f = f32[4,4]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1", more=fused)
    assert (found.kind, found.bytes_sent_per_device) == ("reduce-scatter", 64)


def test_stages_of_tpus_count_once():
    """A collective that is spread over several fusions is written in each of them."""
    gather = (
        "(q: f32[8,4]) -> f32[16,4] {\n  %q = f32[8,4]{1,0} parameter(0)\n  %g = f32[16,4]{1,0} all-gather(%q), "
        'replica_groups=[4,2]<=[8], dimensions={0}, frontend_attributes={chain_id="0"}\n'
        '  ROOT %r = f32[16,4]{1,0} custom-call(%g), custom_call_target="AsyncCollective'
    )
    stages = f'%begin {gather}Start"\n}}\n%end {gather}Done"\n}}\n'
    found = one(
        "%f = f32[16,4]{1,0} fusion(%p), kind=kCustom, calls=%begin",
        "ROOT %h = f32[16,4]{1,0} fusion(%p, %f), kind=kOutput, calls=%end",
        more=stages,
    )
    assert (found.kind, found.bytes_sent_per_device) == ("all-gather", 128)


def test_no_program():
    with pytest.raises(ValueError, match="ENTRY"):
        count("nothing", MESH)


def test_kinds_are_those_that_are_documented():
    import transformer_jax.plan.collectives as module

    assert all(kind.removeprefix("ragged-") in module.__doc__ for kind in KINDS)
