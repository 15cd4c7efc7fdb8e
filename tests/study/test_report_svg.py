"""The primitives of the pictures."""

import math
from xml.etree import ElementTree

import pytest

from transformer_jax.study.report import svg
from transformer_jax.study.report.charts import core
from transformer_jax.study.report.curves import Point, band, thin


def test_scales_and_ticks():
    scale = svg.fit([0.0, 10.0, math.nan, math.inf], 100, 200, pad=0.0)
    assert (scale(0), scale(10), scale(5)) == (100, 200, 150)
    assert scale.ticks(5) == [0, 2, 4, 6, 8, 10]
    assert svg.tick_labels([-0.5, 0.0, 0.25]) == ["−0.50", "0.00", "0.25"]
    assert svg.tick_labels([10_000, 20_000]) == ["10k", "20k"]


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [math.nan], [1e-12, 2e-12], [-1e30, 1e30]])
@pytest.mark.parametrize("log", [False, True])
def test_no_values_make_an_empty_scale(values, log):
    scale = svg.fit(values, 0, 100, log=log)
    ticks = scale.ticks()
    assert scale.low < scale.high and all(scale.inside(tick) for tick in ticks)
    assert len(svg.tick_labels(ticks)) == len(ticks) <= 60


def test_log_scales():
    scale = svg.fit([1.0, 1000.0], 0, 300, pad=0.0, log=True)
    assert scale(scale.low) == 0 and scale(math.sqrt(scale.low * scale.high)) == pytest.approx(150)
    assert scale.ticks() == [1, 10, 100, 1000]


@pytest.mark.parametrize(("value", "said"), [(1.354e6, "1.35M"), (999, "999"), (-2e9, "−2G"), (8.1e18, "8.1E")])
def test_large_numbers_are_short(value, said):
    assert svg.short(value) == said


def test_a_picture_is_xml_with_its_texts_escaped():
    picture = svg.Svg("name", 100, 50, "<title>", 'a "description" & more')
    with picture.clip(0, 0, 10, 10), picture.group(data_v=3):
        picture.text(1, 2, "<script>", data_y=2.0)
    for shape in svg.SHAPES:
        picture.marker(shape, 5, 5, 3, "#000", "<b>")
    root = ElementTree.fromstring(picture.render(alone=True))
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.findtext("s:title", namespaces=space) == "<title>"
    assert root.find(".//s:text", space).text == "<script>"
    assert len(root.findall(".//s:title", space)) == 1 + len(svg.SHAPES)
    assert "xmlns" not in picture.render()


def test_labels_make_room_for_each_other_in_order():
    wanted = [50.0, 51.0, 10.0, 52.0]
    placed = svg.dodge(wanted, 10, 0, 100)
    assert sorted(placed) == [placed[2], placed[0], placed[1], placed[3]]
    assert all(b - a >= 10 - 1e-9 for a, b in zip(sorted(placed), sorted(placed)[1:], strict=False))
    crowded = svg.dodge([5.0] * 30, 10, 0, 100)
    assert min(crowded) >= 0 and max(crowded) <= 100 and len(set(crowded)) == 30


def test_thinned_curves_keep_their_ends_and_extremes():
    points = [Point(i, float(i), float(i) - 1, 1000.0 if i == 777 else float(i) + 1) for i in range(1000)]
    thinned = thin(points, 100)
    assert len(thinned) == 100 and thinned[0] == points[0] and thinned[-1] == points[-1]
    assert max(point.high for point in thinned) == 1000.0
    assert thin(points[:5], 100) == points[:5]


def test_bands_leave_out_what_is_not_finite():
    found = band([{1: 1.0, 2: 3.0, 3: math.inf}, {1: 2.0, 2: math.nan}])
    assert found == [Point(1, 1.5, 1.0, 2.0), Point(2, 3.0, 3.0, 3.0)]


@pytest.mark.parametrize(
    ("values", "given_up"),
    [
        ([3.05, 3.06, 3.07, 3.11, 3.16, 3.32, 3.36, 3.37, 3.37, 3.37], []),  # two groups are both shown
        ([1.0, 1.1, 1.2, 1.3, 9.0], [9.0]),
        ([1.0, 1.1, 1.2, 1.3, 1.4, 9.0, 9.1], [9.0, 9.1]),
        ([1.0, 1.1, 1.2, 9.0, 90.0], [9.0, 90.0]),
        ([1.0, 1.0, 1.0, 5.0], []),  # the one that differs is what the picture is about
        ([1.0, 2.0], []),
    ],
)
def test_only_what_would_squeeze_most_of_the_others_is_given_up(values, given_up):
    assert sorted(set(values) - set(core(values))) == given_up
