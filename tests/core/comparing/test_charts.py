"""Charts are SVG with text, the same each time, whatever things are called."""

from __future__ import annotations

import re

import pytest

from cellseg_core.comparing.charts import (
    Spot,
    correlation_chart,
    double_positive_chart,
    line_chart,
    spot_chart,
)
from cellseg_core.comparing.downstream import Correlation, DoublePositives

HOSTILE = '<b>"$x$" & \u7d30\u80de id="a"'


def line(names: list[str]) -> str:
    lines = {name: [0.9, None, 0.1 * number] for number, name in enumerate(names)}
    return line_chart(lines, (0.5, 0.7, 0.9), xlabel="IoU", ylabel="AP")


def doubles(**figures: int) -> DoublePositives:
    return DoublePositives(first="CD3", second="CD20", **figures)


def counts(x: list[int], y: list[int]) -> Correlation:
    return Correlation.of("T cells", ("one", "other"), "images", x, y)


def test_the_same_figures_give_the_same_svg_with_text_as_text() -> None:
    svg = line(["maskrcnn", "stardist"])
    assert svg == line(["maskrcnn", "stardist"])
    assert svg.startswith("<svg")
    for text in ("maskrcnn", "stardist", "IoU", "AP"):
        assert f">{text}</text>" in svg
    assert "http" not in svg


def test_hostile_names_are_text() -> None:
    svg = line([HOSTILE, "plain"])
    assert "<b>" not in svg
    assert '&lt;b&gt;"$x$" &amp; \u7d30\u80de id="a"</text>' in svg


def test_charts_of_one_page_share_no_id() -> None:
    first = line(["a"])
    second = spot_chart([Spot("a", 1.0, 0.5)], xlabel="s", ylabel="mAP")
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]
    for svg, own in zip((first, second), ids, strict=True):
        assert {
            found
            for pair in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
            for found in pair
            if found
        } <= own


def test_more_methods_than_colours_still_differ() -> None:
    names = [f"method{number}" for number in range(20)]
    assert all(f">{name}</text>" in line(names) for name in names)


def test_spots_have_plain_numbers_on_their_log_axis() -> None:
    spots = [Spot("slow", 200.0, 0.7, (150.0, 300.0), (0.6, 0.8)), Spot("fast", 0.02, 0.5)]
    svg = spot_chart(spots, xlabel="s", ylabel="mAP")
    assert ">100</text>" in svg
    assert ">0.1</text>" in svg
    assert "mathdefault" not in svg


def test_a_method_that_is_not_drawn_keeps_its_colour_for_the_other_charts() -> None:
    lines = {"a": [None, None], "b": [0.2, 0.4]}
    for svg in (
        line_chart(lines, (0.5, 0.9), xlabel="IoU", ylabel="AP"),
        spot_chart([Spot("a", None, 0.2), Spot("b", 1.0, 0.2)], xlabel="s", ylabel="mAP"),
    ):
        assert ">a</text>" not in svg
        assert ">b</text>" in svg
        assert "#d55e00" in svg
        assert "#0072b2" not in svg
    assert line_chart({"a": [None]}, (0.5,), xlabel="IoU", ylabel="AP").startswith("<svg")


def test_double_positives_without_compensation_have_one_bar_each() -> None:
    before = doubles(cells=10, either=4, both=1)
    after = doubles(cells=10, either=4, both=1, either_after=4, both_after=0, kept=4)
    assert ">25.0</text>" in double_positive_chart({"a": before})
    assert ">after</text>" not in double_positive_chart({"a": before})
    assert ">after</text>" in double_positive_chart({"a": after})
    # Nothing positive, and nothing drawn.
    assert double_positive_chart({"a": doubles(cells=0, either=0, both=0)}).startswith("<svg")


@pytest.mark.parametrize(
    "found",
    [
        counts([0, 1, 2, 3], [1, 3, 5, 7]),
        counts([], []),
        counts([2], [3]),
        counts([2, 2, 2], [1, 2, 3]),
        counts([0, 0, 0], [0, 0, 0]),
    ],
)
def test_correlations_are_drawn_with_and_without_a_line(found: Correlation) -> None:
    svg = correlation_chart([found] * 4)
    expected = "r\u00b2 not known" if found.r2 is None else f"r\u00b2 = {found.r2:.2f}"
    assert svg.count(expected) == 4


def test_many_points_are_a_picture_so_that_the_page_stays_small() -> None:
    many = counts(list(range(3000)), list(range(3000)))
    svg = correlation_chart([many])
    assert "data:image/png;base64," in svg
    assert len(svg) < 150_000
