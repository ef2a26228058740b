"""Growth of nuclei follows the published rules, without their faults."""

from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt, distance_transform_edt, find_objects
from skimage.segmentation import expand_labels

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.testing import ExpanderTests
from cellseg_core.testing.expander import window_around
from cellseg_postprocess.expansion import (
    SequentialExpander,
    StandardExpander,
    VoronoiExpander,
    expand_sequential,
    expand_standard,
    expand_voronoi,
)

RULES = [expand_sequential, expand_standard, expand_voronoi]
every_rule = pytest.mark.parametrize("grow", RULES)


class TestSequential(ExpanderTests):
    def make(self, distance: float) -> SequentialExpander:
        return SequentialExpander(distance)


class TestStandard(ExpanderTests):
    def make(self, distance: float) -> StandardExpander:
        return StandardExpander(distance)


class TestVoronoi(ExpanderTests):
    def make(self, distance: float) -> VoronoiExpander:
        return VoronoiExpander(distance)


def scattered(height: int, width: int, seed: int, share: float = 0.15) -> np.ndarray:
    """Labels of single pixels, each in many places: every kind of tie within a few pixels."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 6, (height, width)) * (rng.random((height, width)) < share)


def boxes(height: int, width: int, seed: int, count: int | None = None) -> np.ndarray:
    """Rectangles, each with its own label, ids in no order, that cover each other in part."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int64)
    for label in rng.permutation(count or rng.integers(0, 1 + height * width // 12)) + 1:
        y, x = rng.integers(0, height), rng.integers(0, width)
        labels[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = label
    return labels


LABELS = st.builds(
    lambda kind, height, width, seed: kind(height, width, seed),
    st.sampled_from([scattered, boxes]),
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(0, 9999),
)
BESIDE = ((-1, 0), (0, -1), (0, 1), (1, 0))


def shifted(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """What stands ``down`` rows and ``right`` columns from each pixel; 0 outside the image."""
    height, width = values.shape
    padded = np.pad(values, 1)
    return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]


# The three rules, written down anew in the plainest way.


def one_step(labels: np.ndarray) -> np.ndarray:
    grown = labels.copy()
    most = np.zeros(labels.shape, int)
    around = [shifted(labels, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    for side in BESIDE:
        claim = shifted(labels, *side)
        count = np.sum([other == claim for other in around], axis=0)
        wins = (labels == 0) & (claim > 0) & (count > most)
        grown[wins] = claim[wins]
        most[wins] = count[wins]
    return grown


def nearest_centre(labels: np.ndarray, distance: int) -> np.ndarray:
    """Distances to centres are compared as fractions of whole numbers, hence exactly."""
    grown = labels.copy()
    rows = np.arange(labels.shape[0])[:, np.newaxis]
    columns = np.arange(labels.shape[1])
    nearest = np.zeros(labels.shape, np.int64)
    divisor = np.zeros(labels.shape, np.int64)
    # In reading order of their first pixels: the first of equals stays.
    for label in dict.fromkeys(labels[labels > 0].tolist()):
        inside = labels == label
        area = int(inside.sum())
        y, x = np.nonzero(inside)
        down = area * rows - y.sum()
        right = area * columns - x.sum()
        square = down**2 + right**2
        reached = (distance_transform_cdt(~inside, "taxicab") <= distance) & (labels == 0)
        wins = reached & ((grown == 0) | (square * divisor < nearest * area**2))
        grown[wins] = label
        nearest[wins] = square[wins]
        divisor[wins] = area**2
    return grown


@given(labels=LABELS, distance=st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_sequential_growth_is_its_rule_step_by_step(labels, distance) -> None:
    stepwise = labels
    for _ in range(distance):
        stepwise = one_step(stepwise)
    assert np.array_equal(expand_sequential(labels, distance), stepwise)


@given(labels=LABELS, first=st.integers(0, 4), second=st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_sequential_growth_in_two_goes_is_growth_in_one(labels, first, second) -> None:
    one = expand_sequential(labels, first + second)
    assert np.array_equal(one, expand_sequential(expand_sequential(labels, first), second))


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        # Two of the 8 neighbours against one.
        ([[0, 1, 0], [2, 0, 0], [2, 0, 0]], 2),
        ([[0, 2, 2], [1, 0, 0], [0, 0, 0]], 2),
        # A diagonal neighbour alone has no claim.
        ([[3, 1, 3], [0, 0, 0], [3, 0, 3]], 1),
        # Equal: above, left, right, below.
        ([[0, 4, 0], [3, 0, 2], [0, 1, 0]], 4),
        ([[0, 0, 0], [3, 0, 2], [0, 1, 0]], 3),
        ([[0, 0, 0], [0, 0, 2], [0, 1, 0]], 2),
    ],
)
def test_a_contested_pixel_joins_the_label_that_has_most_around_it(labels, winner) -> None:
    assert expand_sequential(np.array(labels), 1)[1, 1] == winner


@given(labels=LABELS, distance=st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_a_pixel_goes_to_the_nearest_centre_among_those_that_reach_it(labels, distance) -> None:
    assert np.array_equal(expand_standard(labels, distance), nearest_centre(labels, distance))


@pytest.mark.parametrize("distance", [1, 4, 40, 1000])
def test_standard_growth_is_its_rule_over_many_blocks(distance) -> None:
    labels = boxes(270, 140, seed=1, count=150)
    # Long nuclei that cross blocks, and one in pieces far apart.
    labels[60, 5:135] = labels[10:260, 70] = 500
    labels[0, 0] = labels[-1, -1] = 501
    assert np.array_equal(expand_standard(labels, distance), nearest_centre(labels, distance))


def test_a_nucleus_that_fills_a_block_of_the_search_grows_on_all_sides() -> None:
    labels = np.zeros((384, 384), np.int64)
    labels[128:256, 128:256] = 1
    assert np.array_equal(expand_standard(labels, 1), nearest_centre(labels, 1))


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        ([[0, 0, 0], [2, 0, 1], [0, 0, 0]], 2),
        ([[0, 2, 0], [0, 0, 0], [0, 1, 0]], 2),
        ([[0, 0, 2], [0, 0, 0], [1, 0, 0]], 2),
    ],
)
def test_between_equally_near_centres_the_nucleus_that_begins_first_wins(labels, winner) -> None:
    for down, right in ((0, 0), (9, 0), (0, 9)):
        moved = np.pad(labels, ((down, 0), (right, 0)))
        assert expand_standard(moved, 2)[down + 1, right + 1] == winner


DISTANCES = st.one_of(
    st.sampled_from([math.sqrt(n) for n in (1, 2, 5, 8, 10, 13, 17, 18, 25, 26, 29)]),
    st.floats(0, 12),
    st.integers(0, 60),
)


@given(labels=LABELS, distance=DISTANCES)
@settings(max_examples=300, deadline=None)
def test_voronoi_is_scikit_image_s(labels, distance) -> None:
    expected = expand_labels(labels, distance) if labels.any() else labels
    assert np.array_equal(expand_voronoi(labels, distance), expected)


@pytest.mark.parametrize("distance", [1.5, 7, 90, 1000])
def test_voronoi_is_scikit_image_s_over_many_bands_of_rows(distance) -> None:
    for labels in (boxes(300, 70, seed=2, count=60), scattered(300, 70, seed=3, share=0.001)):
        assert np.array_equal(expand_voronoi(labels, distance), expand_labels(labels, distance))


@every_rule
@given(labels=LABELS, distance=st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_cells_hold_their_nuclei_and_all_that_is_within_the_distance(
    grow, labels, distance
) -> None:
    grown = grow(labels, distance)
    assert grown.dtype == np.int32
    assert np.array_equal(grown[labels > 0], labels[labels > 0])
    assert set(np.unique(grown)) <= {0, *np.unique(labels)}
    if labels.any():
        away = (
            distance_transform_edt(labels == 0)
            if grow is expand_voronoi
            else distance_transform_cdt(labels == 0, "taxicab")
        )
        assert np.array_equal(grown > 0, away <= distance)
        for label in np.unique(labels[labels > 0]):
            reach = distance_transform_edt(labels != label)[grown == label]
            assert reach.max() <= distance


@every_rule
@given(labels=LABELS, distance=st.integers(0, 5), seed=st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_other_ids_with_gaps_give_the_same_cells(grow, labels, distance, seed) -> None:
    rng = np.random.default_rng(seed)
    other = np.zeros(labels.max() + 1, np.int64)
    top = rng.choice([labels.max() + 1, 1000, 2**31 - 1])
    other[1:] = rng.choice(min(top, 10_000), labels.max(), replace=False)
    other[1:] = top - other[1:]
    assert np.array_equal(grow(other[labels], distance), other[grow(labels, distance)])


@every_rule
@given(data=st.data(), labels=LABELS, distance=st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_a_window_with_whole_nuclei_gives_what_the_whole_gives(
    grow, data, labels, distance
) -> None:
    def some(size: int) -> slice:
        start = data.draw(st.integers(0, size - 1))
        return slice(start, data.draw(st.integers(start + 1, size)))

    def larger(window: slice, size: int) -> slice:
        start = data.draw(st.integers(0, window.start))
        return slice(start, data.draw(st.integers(window.stop, size)))

    height, width = labels.shape
    part = some(height), some(width)
    rows, columns = window_around(labels, *part, distance)
    window = larger(rows, height), larger(columns, width)
    seen = np.full(labels.shape, -1)
    seen[window] = grow(labels[window], distance)
    assert np.array_equal(seen[part], grow(labels, distance)[part])


# The original program.


def original_step(labels: np.ndarray) -> np.ndarray:
    """One pass of the original's sequential growth, faults included.

    Cell by cell, in the order of their ids, all that is beside a cell becomes its own, other
    cells' pixels too, but for the last row and column of the image.
    """
    grown = labels.copy()
    for number, found in enumerate(find_objects(grown), start=1):
        rows, columns = (
            slice(max(side.start - 3, 0), min(side.stop + 3, size - 1))
            for side, size in zip(found, grown.shape, strict=True)
        )
        window = grown[rows, columns]
        inside = window == number
        window[np.any([inside, *(shifted(inside, *side) for side in BESIDE)], axis=0)] = number
    return grown


def oracle(data_dir: Path, name: str) -> np.ndarray:
    return np.load(data_dir / "oracle" / f"{name}.npz")["labels"].astype(np.int64)


every_oracle = pytest.mark.parametrize("name", ["C256", "A1024", "B1024shuf"])


@pytest.mark.data
@every_oracle
def test_sequential_growth_differs_from_the_original_by_its_faults_alone(data_dir, name) -> None:
    before = oracle(data_dir, f"{name}_input")
    for step in range(1, 6):
        original = original_step(before)
        if step in (1, 2, 5):
            # The steps between are not on file; these show that we go through the same ones.
            assert np.array_equal(original, oracle(data_dir, f"{name}_grow_Sequential_{step}"))
        ours = expand_sequential(before, 1)

        beside = np.stack([shifted(before, *side) for side in BESIDE])
        some = (beside > 0).any(axis=0)
        lowest = np.where(beside > 0, beside, before.max() + 1).min(axis=0)
        contested = (before == 0) & some & (lowest != beside.max(axis=0))
        # Never grown into.
        last = np.zeros(before.shape, bool)
        last[-1] = last[:, -1] = True
        # Pixels that a neighbour overwrote for good, or until after their cell's turn to grow.
        touching = (before > 0) & ((beside > 0) & (beside != before)).any(axis=0)
        whole = (before > 0) & ~touching
        corner = (before == 0) & some & ~np.any([shifted(whole, *s) for s in BESIDE], axis=0)

        differs = ours != original
        assert not (differs & ~contested & ~last & ~corner & ~touching).any()
        assert (ours[touching | whole] == before[touching | whole]).all(), "a nucleus lost pixels"
        assert (original[last] == before[last]).all()
        assert ((original == 0) | (original == ours))[corner & ~contested].all()
        # What differs of the contested pixels is the choice among the same labels.
        chosen = contested & ~last & ~corner
        assert ((beside == original) & (beside > 0)).any(axis=0)[chosen].all()
        assert np.mean(differs[before == 0]) < 0.02
        before = original


@pytest.mark.data
@every_oracle
@pytest.mark.parametrize("distance", [1, 2, 5])
def test_standard_growth_differs_from_the_original_by_its_faults_alone(
    data_dir, name, distance
) -> None:
    labels = oracle(data_dir, f"{name}_input")
    original = oracle(data_dir, f"{name}_grow_Standard_{distance}")
    ours = expand_standard(labels, distance)
    nuclei = labels > 0
    assert np.array_equal(ours > 0, original > 0)
    assert (ours[nuclei] == labels[nuclei]).all(), "a nucleus lost pixels"
    assert (original[nuclei] != labels[nuclei]).any(), "the original is not known to keep them"

    y, x = np.nonzero(nuclei)
    areas = np.maximum(np.bincount(labels[y, x]), 1)
    centre_y, centre_x = np.bincount(labels[y, x], y) / areas, np.bincount(labels[y, x], x) / areas
    y, x = np.nonzero((ours != original) & ~nuclei)
    assert 0 < y.size < 0.05 * (~nuclei).sum()
    theirs, mine = original[y, x], ours[y, x]
    assert (
        np.hypot(y - centre_y[theirs], x - centre_x[theirs])
        > np.hypot(y - centre_y[mine], x - centre_x[mine])
    ).all(), "the original chose a nearer centre"


# What users give.


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (-1, "0 or more"),
        (1.5, "whole px"),
        (math.nan, "whole px"),
        (math.inf, "whole px"),
    ],
)
@pytest.mark.parametrize(
    "grow",
    [
        lambda distance: expand_sequential(np.ones((2, 2), int), distance),
        lambda distance: expand_standard(np.ones((2, 2), int), distance),
        SequentialExpander,
        StandardExpander,
    ],
)
def test_a_distance_that_makes_no_sense_is_refused(grow, distance, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        grow(distance)


@pytest.mark.parametrize("distance", [-1, -0.5, math.nan, math.inf])
@pytest.mark.parametrize(
    "grow", [lambda distance: expand_voronoi(np.ones((2, 2), int), distance), VoronoiExpander]
)
def test_a_distance_that_makes_no_sense_is_refused_by_voronoi(grow, distance) -> None:
    with pytest.raises(ConfigurationError, match="0 or more px"):
        grow(distance)


@every_rule
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones((2, 2)), "holds float64.*astype"),
        (np.ones((2, 2), bool), "True and False.*skimage.measure.label"),
        (np.ones((1, 2, 2), int), r"shape \(1, 2, 2\)"),
        (-np.ones((2, 2), int), r"negative values \(down to -1\)"),
        (np.array([[0, 2**31]]), "2,147,483,647; .* has 2147483648.*relabel_sequential"),
        (np.array([[0, 2**63]], np.uint64), "this label image has 9223372036854775808"),
    ],
)
def test_something_else_than_a_label_image_is_refused(grow, labels, message) -> None:
    for distance in (0, 1):
        with pytest.raises(ImageError, match=message):
            grow(labels, distance)


@pytest.mark.parametrize("rule", [SequentialExpander, StandardExpander, VoronoiExpander])
def test_an_expander_grows_by_1_px_unless_told_otherwise(rule) -> None:
    assert rule().expand(np.array([[0, 0, 7, 0, 0]], np.int32)).tolist() == [[0, 7, 7, 7, 0]]


@every_rule
def test_no_growth_gives_a_copy(grow) -> None:
    labels = boxes(9, 9, seed=0, count=5).astype(np.int32)
    same = grow(labels, 0)
    assert np.array_equal(same, labels)
    assert not np.shares_memory(same, labels)


@every_rule
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (4, 6)])
def test_an_image_without_nuclei_stays_empty(grow, shape) -> None:
    grown = grow(np.zeros(shape, np.uint8), 3)
    assert grown.shape == shape
    assert not grown.any()


@every_rule
def test_one_cell_fills_an_image_smaller_than_the_distance_at_once(grow) -> None:
    labels = np.zeros((300, 400), np.int32)
    labels[7, 390] = 3
    grow(labels, 1)
    start = time.perf_counter()
    assert (grow(labels, 10**12) == 3).all()
    assert time.perf_counter() - start < 5


@every_rule
def test_many_cells_fill_an_image_smaller_than_the_distance(grow) -> None:
    labels = boxes(90, 80, seed=4, count=90)
    assert np.array_equal(grow(labels, 10**9), grow(labels, 170))
    assert (grow(labels, 10**9) > 0).all()


@every_rule
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.int64, np.uint64])
def test_labels_of_every_type_and_layout_give_the_same_cells(grow, dtype) -> None:
    labels = boxes(20, 30, seed=5, count=20)
    grown = grow(labels, 2)
    wide = np.zeros((40, 90), dtype)
    wide[::2, ::3] = labels
    frozen = labels.astype(dtype)
    frozen.flags.writeable = False
    for given_labels in (wide[::2, ::3], frozen, np.asfortranarray(frozen), frozen.tolist()):
        assert np.array_equal(grow(given_labels, 2), grown)


class Lazy:
    """Labels that are read window by window, as those of an image too large for memory."""

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels
        self.shape = labels.shape
        self.dtype = labels.dtype

    def __getitem__(self, key):
        return self._labels[key]


@every_rule
def test_lazy_labels_are_read(grow) -> None:
    labels = boxes(20, 30, seed=6, count=20)
    assert np.array_equal(grow(Lazy(labels), 2), grow(labels, 2))


@every_rule
def test_a_million_cells_of_one_pixel_are_grown_in_seconds(grow) -> None:
    labels = np.zeros((2000, 3000), np.int32)
    labels[1::2, 1::3] = np.random.default_rng(0).permutation(10**6).reshape(1000, 1000) + 1
    grow(labels[:4, :4], 1)
    start = time.perf_counter()
    grown = grow(labels, 2)
    assert time.perf_counter() - start < 20
    assert np.array_equal(grown[1::2, 1::3], labels[1::2, 1::3])
    assert (grown > 0).all()


@every_rule
def test_growth_needs_little_memory_beyond_its_result(grow) -> None:
    labels = np.zeros((4096, 4096), np.int32)
    labels[10:-10:40, 10:-10:40] = np.arange(102 * 102).reshape(102, 102) + 1
    grow(labels[:50, :50], 2)
    tracemalloc.start()
    try:
        grow(labels, 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * labels.nbytes
