"""Cost as the work grows: exponents are found again, chains are counted by hand, and the page keeps its words."""

import math
from pathlib import Path

import pytest

from benchmarks import growth, growth_table
from benchmarks.growth import AXES, MODELS, PARTS, Axis, Found, Limits, measure, points
from benchmarks.growth_fit import fit, upper_half
from benchmarks.growth_path import steps_in_a_row
from benchmarks.growth_picture import draw
from benchmarks.growth_table import check_marks, marks, tables, write
from benchmarks.run import main
from transformer_jax.errors import UserError
from transformer_jax.validate import problems

DOCS = Path(__file__).parents[2] / "docs"
LENGTHS = [2**i for i in range(6, 15)]
LOOP = """HloModule m

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  %s = (s32[], f32[4]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[4] get-tuple-element(%s), index=1
  %next = s32[] fusion(%i), kind=kLoop, calls=%add
  %y = f32[4] fusion(%x), kind=kLoop, calls=%add
  %z = f32[4] fusion(%y), kind=kLoop, calls=%add
  ROOT %t = (s32[], f32[4]) tuple(%next, %z)
}

%condition (s: (s32[], f32[4])) -> pred[] {
  %s = (s32[], f32[4]) parameter(0)
  ROOT %p = pred[] constant(true)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4] parameter(0)
  %zero = s32[] constant(0)
  %before = f32[4] fusion(%x), kind=kLoop, calls=%add
  %beside = f32[4] dot(%x, %x)
  %in = (s32[], f32[4]) tuple(%zero, %before)
  %loop = (s32[], f32[4]) while(%in), condition=%condition, body=%body, KNOWN
  %out = f32[4] get-tuple-element(%loop), index=1
  ROOT %last = f32[4] add(%out, %beside)
}
"""
KNOWN = 'backend_config={"known_trip_count":{"n":"7"}}'


def test_exponents_are_found_again():
    for exponent in (0.0, 1.0, 2.0, 2.5):
        found = fit(LENGTHS, [3e-7 * length**exponent for length in LENGTHS])
        assert found.exponent == pytest.approx(exponent, abs=1e-9)
        assert found.low == pytest.approx(exponent, abs=1e-6) and (found.first, found.last) == (1024, 16384)


def test_only_the_upper_half_counts():
    """A cost that is constant below and quadratic above the middle is quadratic."""
    costs = [max(1024, length) ** 2 for length in LENGTHS]
    assert fit(LENGTHS, costs).exponent == pytest.approx(2.0)
    assert upper_half([1, 2, 4, 8, 16]) == [1, 2, 3, 4] and upper_half([1, 2]) == [0, 1]


def test_interval_holds_a_noisy_exponent():
    costs = [length**1.5 * (1.1 if i % 2 else 0.9) for i, length in enumerate(LENGTHS)]
    found = fit(LENGTHS, costs)
    assert found.low < 1.5 < found.high and found.low > 1 and "to" in str(found)


def test_what_cannot_be_fitted():
    assert fit([], []) is None and fit([64], [1.0]) is None and fit([1, 2], [0.0, 1.0]) is None
    assert math.isnan(fit([1, 2], [1.0, 2.0]).low) and str(fit([1, 2], [1.0, 2.0])) == "1.00"


def test_chain_of_a_program_that_can_be_counted_by_hand():
    """One operation before the loop, two in each of 7 rounds, one behind it; what is beside that does not count."""
    assert steps_in_a_row(LOOP.replace("KNOWN", KNOWN)) == 1 + 7 * 2 + 1
    with pytest.raises(NotImplementedError, match="loop"):
        steps_in_a_row(LOOP.replace("KNOWN", ""))


def test_every_point_is_valid():
    for part in PARTS:
        for point in points(part):
            config = point.config()
            n_devices = point.size if part == "devices" else 1
            assert problems(config, n_devices=n_devices) == [], point
    assert set(AXES["length"].models) <= MODELS.keys() and points("length", largest=64)[-1].size == 64


def made_up(part: str) -> list[Found]:
    found = []
    for point in points(part, largest=512):
        known = {name: 1e6 * point.size for name in ("flops", "temporary", "arguments", "sent")}
        found.append(Found(point, known | {"parameters": 1000, "in_a_row": 14 * point.size}))
        found[-1].seconds = [1e-6 * point.size**2 * factor for factor in (0.9, 1.0, 1.1)]
    found[0].seconds, found[0].left_out = [], "9.0 GiB of temporaries"
    return found


@pytest.mark.parametrize("part", PARTS)
def test_tables_and_pictures(part, tmp_path):
    found = made_up(part)
    text = tables(part, found, "header")
    assert text.startswith("header\n\n") and "|---|" in text
    assert "2.00 (2.00 to 2.00)" in text or part == "devices"
    assert ("9.0 GiB of temporaries" in text) == (part != "devices")
    drawn = draw(part, found, tmp_path)
    assert drawn == ([] if part == "devices" else [f"growth_{part}.png"])
    assert all((tmp_path / name).stat().st_size > 1000 for name in drawn)


def test_page_keeps_its_words(tmp_path):
    page = tmp_path / "growth.md"
    begin, end = marks("sizes")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    write(page, "sizes", "new\n")
    assert page.read_text() == f"before\n{begin}\nnew\n{end}\nafter\n"
    with pytest.raises(UserError, match="<!-- cores -->"):
        check_marks(page, ["sizes", "cores"])
    check_marks(DOCS / growth_table.PAGE, list(PARTS))


def tiny(monkeypatch):
    monkeypatch.setitem(AXES, "length", Axis("data.length", (16,), ("lstm",), {"data.batch_size": 1}))
    small = {"model.layers": 1, "model.width": 16, "model.heads": 2}
    monkeypatch.setattr(growth, "BASE", growth.BASE | small)


def test_from_end_to_end(tmp_path, monkeypatch, capsys):
    tiny(monkeypatch)
    (tmp_path / "growth.md").write_text("{}{}".format(*marks("length")))
    assert main(["length", "--only=length", "--repeats=2", f"--out={tmp_path}"]) == 0
    text = (tmp_path / "growth.md").read_text()
    assert "python -m benchmarks.run length --only=length --repeats=2" in text and "| 16 | " in text
    assert (tmp_path / "growth_length.png").exists() and "lstm, length 16" in capsys.readouterr().out


def test_limits_leave_points_out(monkeypatch):
    tiny(monkeypatch)
    asked = []

    class Fake:
        def __init__(self, cores):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def ask(self, what, key, **given):
            asked.append(what)
            length = given["config"]["data"]["length"] if given else None
            return {"flops": length**2, "temporary": length} if what == "build" else 1.0

    monkeypatch.setattr(growth, "Worker", Fake)
    monkeypatch.setitem(AXES, "length", Axis("data.length", (8, 16), ("lstm",)))
    small, large = points("length")
    found = measure([small, large], 2, Limits(bytes=100, seconds=3), lambda line: None)
    assert found[0].seconds == [1.0, 1.0] and found[1].left_out == "some 4 s an update"
    found = measure([small, large], 2, Limits(bytes=10, seconds=30), lambda line: None)
    assert found[1].seconds == [] and "GiB of temporaries" in found[1].left_out
    assert asked.count("drop") == 2 and asked.count("time") == 4


def test_mistakes(tmp_path, capsys):
    assert main(["length", f"--out={tmp_path}"]) == 2
    assert "growth.md" in capsys.readouterr().err
    assert main(["length", "--repeats=0"]) == 2 and "--repeats=0" in capsys.readouterr().err
    assert main(["length", "--config.model.width=8"]) == 2 and "takes no config" in capsys.readouterr().err
