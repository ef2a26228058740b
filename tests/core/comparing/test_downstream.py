"""Double positives before and after compensation, and counts correlated between methods."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg_core.comparing.downstream import (
    MIN_IMAGES,
    Correlation,
    DoublePositives,
    Points,
    correlate_counts,
    parse_pair,
)
from cellseg_core.comparing.gates import parse_gates
from cellseg_core.comparing.gating import MarkerValues, Thresholds
from cellseg_core.errors import ConfigurationError

PAIR = ("CD3", "CD20")
THRESHOLDS = Thresholds(values={"CD3": 5, "CD20": 5}, sources={"CD3": "given", "CD20": "given"})


def cells(before, after=None, image="one", centroids=None) -> MarkerValues:
    """Return cells from lists of values by marker."""
    arrays = {name: np.array(values, float) for name, values in before.items()}
    size = len(next(iter(arrays.values())))
    return MarkerValues(
        image=image,
        centroids=np.zeros((size, 2)) if centroids is None else centroids,
        columns={name: place for place, name in enumerate(before)},
        before=arrays,
        after=after and {name: np.array(values, float) for name, values in after.items()},
    )


def test_hand_worked_double_positives() -> None:
    before = {"CD3": [9, 9, 9, 1, 1], "CD20": [9, 9, 1, 9, 1]}
    after = {"CD3": [9, 9, 1, 1, 1], "CD20": [9, 1, 1, 9, 9]}
    found = DoublePositives.of(PAIR, [cells(before, after)], THRESHOLDS)
    assert found.facts() == {
        "first": "CD3",
        "second": "CD20",
        "cells": 5,
        "either": 4,
        "both": 2,
        "either_after": 4,
        "both_after": 1,
        "kept": 3,
        "share": 0.5,
        "share_after": 0.25,
        "kept_share": 0.75,
    }


def test_images_are_pooled_and_those_without_a_marker_left_out() -> None:
    one, two = {"CD3": [9, 9], "CD20": [9, 1]}, {"CD3": [9], "CD20": [9]}
    found = DoublePositives.of(PAIR, [cells(one), cells(two), cells({"CD3": [9]})], THRESHOLDS)
    assert (found.cells, found.either, found.both, found.share) == (3, 3, 2, 2 / 3)
    assert (found.either_after, found.share_after, found.kept) == (None, None, None)


def test_what_cannot_be_known_is_none() -> None:
    nan = np.nan
    for values in ({"CD3": [], "CD20": []}, {"CD3": [1], "CD20": [1]}, {"CD3": [nan], "CD20": [9]}):
        found = DoublePositives.of(PAIR, [cells(values, values)], THRESHOLDS)
        assert (found.share, found.share_after, found.kept) == (None, None, 0)
        json.dumps(found.facts(), allow_nan=False)
    assert DoublePositives.of(PAIR, [], THRESHOLDS).share is None
    unknown = Thresholds(values={"CD3": None, "CD20": 5.0}, sources={})
    found = DoublePositives.of(PAIR, [cells({"CD3": [9], "CD20": [9]})], unknown)
    assert found.both == 0


@pytest.mark.parametrize("text", ["", "CD3", "CD3,", "CD3,CD3", "CD3,CD20,CD4"])
def test_a_pair_is_two_names(text: str) -> None:
    with pytest.raises(ConfigurationError, match="CD3,CD20"):
        parse_pair(text)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_line_is_the_one_of_least_squares(points: list[tuple[int, int]]) -> None:
    x, y = [one for one, _ in points], [other for _, other in points]
    found = Correlation.of("T", ("a", "b"), "images", x, y)
    json.dumps(found.facts(), allow_nan=False)
    if len(x) < 3 or len(set(x)) < 2:
        assert (found.slope, found.intercept, found.r2) == (None, None, None)
        return
    slope, intercept = np.polyfit(x, y, 1)
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.intercept == pytest.approx(intercept, abs=1e-6)
    if len(set(y)) < 2:
        assert found.r2 is None
    else:
        assert found.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, abs=1e-9)


@given(
    shapes=st.lists(
        st.tuples(st.integers(20, 3000), st.integers(20, 3000)), min_size=1, max_size=9
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_each_cell_lies_in_one_window(shapes: list[tuple[int, int]], seed: int) -> None:
    named = {str(number): shape for number, shape in enumerate(shapes)}
    points = Points.of(named)
    assert points.over.startswith("windows of about ")
    rng = np.random.default_rng(seed)
    for name, shape in named.items():
        corners = [[0, 0], [shape[0] - 1, shape[1] - 1]]
        centroids = np.concatenate([rng.random((20, 2)) * (np.array(shape) - 1), corners])
        inside = rng.random(22) < 0.5
        inside[-2:] = True
        counts = points.count(name, centroids, inside)
        assert counts.shape == (np.prod(points.grids[name]),)
        assert counts.sum() == inside.sum()
        assert min(counts[0], counts[-1]) >= 1


@pytest.mark.parametrize("shape", [(600, 800), (100, 4000), (2048, 2048), (31, 57)])
def test_one_image_gives_some_tens_of_points(shape: tuple[int, int]) -> None:
    assert 30 <= np.prod(Points.of({"a": shape}).grids["a"]) <= 70


def test_many_images_are_one_point_each() -> None:
    shapes = {str(number): (100, 100) for number in range(MIN_IMAGES)}
    points = Points.of(shapes)
    assert points.over == "images"
    assert set(points.grids.values()) == {(1, 1)}
    gates = parse_gates('[gates]\nT = "CD3+"\nB = "CD3-"')
    methods = {
        method: {name: cells({"CD3": [9] * (factor * int(name)) + [1]}) for name in shapes}
        for method, factor in (("a", 1), ("b", 2), ("c", 3))
    }
    del methods["c"]["4"]
    found = correlate_counts(gates, methods, THRESHOLDS, shapes)
    assert [(one.gate, one.first, one.second) for one in found[:3]] == [
        ("T", "a", "b"),
        ("T", "a", "c"),
        ("T", "b", "c"),
    ]
    assert found[0].x == tuple(range(MIN_IMAGES))
    assert (found[0].slope, found[0].r2) == (pytest.approx(2), pytest.approx(1))
    assert len(found[1].x) == MIN_IMAGES - 1
    assert (found[3].slope, found[3].r2) == (None, None)
    facts = found[1].facts()
    assert (facts["points"], facts["first_count"], facts["second_count"]) == (9, 41, 123)


def test_one_image_is_counted_in_windows() -> None:
    rng = np.random.default_rng(0)
    places = rng.random((500, 2)) * 200
    values = {"CD3": np.where(rng.random(500) < 0.5, 9.0, 1.0)}
    whole = cells(values, centroids=places)
    half = cells({"CD3": values["CD3"][::2]}, centroids=places[::2])
    gates = parse_gates('[gates]\nT = "CD3+"\nunknown = "CD3+ CD8-"')
    found = correlate_counts(
        gates, {"a": {"one": whole}, "b": {"one": half}}, THRESHOLDS, {"one": (200, 200)}
    )
    assert found[0].over == "windows of about 29 px"
    assert len(found[0].x) == 49
    assert sum(found[0].x) == (values["CD3"] > 5).sum()
    assert found[0].r2 is not None
    assert 0.2 < found[0].r2 < 1
    # A gate whose marker is not there has no point.
    assert (found[1].x, found[1].r2) == ((), None)
