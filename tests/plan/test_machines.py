"""Texts that name machines, and what follows from them."""

import pytest

from transformer_jax.errors import UserError
from transformer_jax.plan.machines import KINDS, parse


@pytest.mark.parametrize(
    "text, kind, devices, topology, slices",
    [
        ("8xH100", "H100", 8, (), 1),
        ("1xH200", "H200", 1, (), 1),
        ("A100", "A100", 1, (), 1),
        ("64xH100", "H100", 64, (), 1),
        ("v5e:16x16", "v5e", 256, (16, 16), 1),
        ("2xv5e:16x16", "v5e", 512, (16, 16), 2),
        ("v5p:4x4x4", "v5p", 64, (4, 4, 4), 1),
        ("v4:2x2x2", "v4", 8, (2, 2, 2), 1),
        ("v3:4x4", "v3", 32, (4, 4), 1),  # two devices a chip
        ("tpu7x:2x2x1", "tpu7x", 8, (2, 2, 1), 1),
        ("V5E:4x4", "v5e", 16, (4, 4), 1),
        ("cpu:8", "cpu", 8, (), 1),
    ],
)
def test_machines_are_read(text, kind, devices, topology, slices):
    machine = parse(text)
    assert (machine.kind.name, machine.devices, machine.topology, machine.slices) == (kind, devices, topology, slices)
    assert parse(machine.name).name == machine.name


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("", "cannot be read"),
        ("8x", "cannot be read"),
        ("8xH101", "unknown kind 'H101' (did you mean 'H100'?)"),
        ("xH100", "the number ''"),
        ("0xH100", "the number '0'"),
        ("9xH100", "do not fill hosts of 8"),
        ("H100:8", "no topology '8'"),
        ("v5e", "needs a topology of 2 numbers"),
        ("v5e:", "needs a topology of 2 numbers"),
        ("v5e:16", "has 1 dimensions"),
        ("v5e:4x4x4", "has 3 dimensions"),
        ("v5p:4x4", "has 2 dimensions"),
        ("v5e:16xa", "the topology 'a'"),
        ("v5e:16x32", "at most 256 chips, not 512"),
        ("v5e:3x3", "no slice is 3 chips long"),
        ("cpu:0", "the number of devices '0'"),
        ("cpu:-8", "the number of devices '-8'"),
    ],
)
def test_other_texts_are_refused_with_the_part_that_is_wrong(text, wrong):
    with pytest.raises(UserError) as refused:
        parse(text)
    assert f"machine={text!r}" in str(refused.value) and wrong in str(refused.value)


def test_every_kind_has_its_numbers_or_none():
    for kind in KINDS.values():
        numbers = (kind.peak, kind.memory, kind.bandwidth, kind.link, kind.network)
        assert all(number is None for number in numbers) or all(numbers)
    assert parse("cpu:8").peak("float32") is None and parse("cpu:8").axis_bandwidth(8, 1) is None


def test_axes_go_over_the_links_that_they_reach():
    gpus = parse("16xH100")
    assert gpus.axis_bandwidth(8, 1) == gpus.kind.link  # inside a host
    assert gpus.axis_bandwidth(2, 8) == gpus.axis_bandwidth(16, 1) == gpus.kind.network
    torus = parse("v5e:16x16")
    assert torus.axis_bandwidth(256, 1) == 4 * torus.kind.link  # two rings, both ways
    assert torus.axis_bandwidth(16, 1) == 2 * torus.kind.link
    assert torus.axis_bandwidth(8, 1) == torus.kind.link  # half of a ring is a line
    assert parse("v5e:4x4").axis_bandwidth(16, 1) == torus.kind.link  # nor do short slices have rings
    assert parse("2xv5e:16x16").axis_bandwidth(2, 256) == torus.kind.network
