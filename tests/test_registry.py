"""Specs are read without being evaluated, and mistakes are told with what would do."""

import dataclasses
from typing import Literal

import pytest

from transformer_jax.errors import UserError
from transformer_jax.registry import Registry, format_spec, parse_pattern, parse_spec

things = Registry("thing", "transformer_jax.errors", base_fields=("given",))


@things.register("box")
@dataclasses.dataclass
class Box:
    given: int
    size: float = 1.0
    kind: Literal["a", "b"] = "a"
    count: int | None = None
    pair: tuple = (1, 2)


def test_specs_round_trip():
    assert parse_spec("rope(theta=1e4, interleaved=True)") == ("rope", (("theta", 1e4), ("interleaved", True)))
    assert parse_spec(format_spec("x", a=[1, 2], b="it's")) == ("x", (("a", [1, 2]), ("b", "it's")))


def test_build_checks_and_converts():
    box = things.build("box(size=2, count=3, pair=[4, 5])", given=7)
    assert box == Box(7, 2.0, "a", 3, (4, 5)) and isinstance(box.size, float)


@pytest.mark.parametrize(
    "spec, told",
    [
        ("bxo", "unknown thing 'bxo' (did you mean 'box'?); have box"),
        ("box(sise=2)", "has no argument 'sise' (did you mean 'size'?); it takes size, kind, count, pair"),
        ("box(given=2)", "has no argument 'given'"),
        ("box(size='big')", "argument 'size': 'big' is not accepted; give float"),
        ("box(count=1.5)", "give int or None"),
        ("box(count=True)", "give int or None"),
        ("box(kind='c')", "give 'a' or 'b'"),
        ("box(size=__import__('os'))", "not a literal"),
        ("box(2)", "cannot read the spec"),
        ("box(", "cannot read the spec"),
        ("", "cannot read the spec"),
    ],
)
def test_mistakes_are_told(spec, told):
    with pytest.raises(UserError) as error:
        things.build(spec, given=1)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "text, specs",
    [
        ("box", ("box",)),
        ("(box)*3", ("box",)),
        ("(box)*3, bag", ("box", "box", "box", "bag")),
        ("(box(size=1.0), bag)*2", ("box(size=1.0)", "bag")),
        ("((box)*2, bag)*2, box", ("box", "box", "bag", "box", "box", "bag", "box")),
    ],
)
def test_patterns_are_read_to_their_shortest_period(text, specs):
    assert parse_pattern(text) == specs


@pytest.mark.parametrize("text", ["(box)*0", "(box)*x", "(box)*2.0", "", "box,, bag"])
def test_bad_patterns_are_told(text):
    with pytest.raises(UserError, match="pattern"):
        parse_pattern(text)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="registered twice"):
        things.register("box")(type("Other", (), {"__module__": "elsewhere"}))
