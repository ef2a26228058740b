"""From the network's outputs to nuclei: suppression, drawing, and the whole detector."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.ndimage import map_coordinates

from cellseg_backends.maskrcnn.anchors import ANCHOR_STRIDES, SIZES
from cellseg_backends.maskrcnn.detection_kernels import draw, suppress
from cellseg_backends.maskrcnn.detector import Detector, Thresholds
from cellseg_backends.maskrcnn.heads import MASK_MARGIN, MASK_SIZE
from cellseg_backends.maskrcnn.model import MaskRCNN
from cellseg_backends.maskrcnn.presets import Preset
from cellseg_core.protocols import Segmentation

CELL = 16.0
EDGE = st.integers(0, 160)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes; 0 where nothing is shared."""
    common = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    if (common <= 0).any():
        return 0.0
    shared = common[0] * common[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (areas[0] + areas[1] - shared))


def greedy(boxes: np.ndarray, order: np.ndarray, limit: float) -> np.ndarray:
    """Return what non-maximum suppression keeps, box against box."""
    keep = np.zeros(len(boxes), bool)
    for i in order:
        area = (boxes[i, 2] > boxes[i, 0]) and (boxes[i, 3] > boxes[i, 1])
        keep[i] = area and not any(
            overlap(boxes[i], boxes[j]) > limit for j in np.flatnonzero(keep)
        )
    return keep


class TestSuppress:
    @settings(deadline=None, max_examples=150)
    @given(
        # Quarters of a pixel: products and sums are exact, so no overlap is on the limit by chance.
        st.lists(
            st.tuples(st.integers(-40, 400), st.integers(-40, 400), EDGE, EDGE),
            min_size=1,
            max_size=40,
        ),
        st.sampled_from([0.3, 0.6, 0.7]),
        st.integers(0, 2**32),
    )
    def test_keeps_what_comparing_all_pairs_keeps(
        self, rows: list[tuple[int, int, int, int]], limit: float, seed: int
    ) -> None:
        corner_and_size = np.array(rows, np.float32) / 4
        corner, size = corner_and_size[:, :2], corner_and_size[:, 2:]
        boxes = np.concatenate([corner, corner + size], axis=1)
        order = np.random.default_rng(seed).permutation(len(boxes))
        np.testing.assert_array_equal(
            suppress(boxes, order, limit, CELL), greedy(boxes, order, limit)
        )

    @pytest.mark.parametrize("sizes", [(4, 400), (1, 8), (100, 110)])
    def test_sizes_may_differ_widely(self, sizes: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        middle = rng.uniform(0, 150, (200, 2))
        half = (
            np.exp(rng.uniform(np.log(sizes[0]), np.log(sizes[1]), (200, 1)))
            / 2
            * rng.uniform(0.7, 1.3, (200, 2))
        )
        boxes = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
        order = rng.permutation(200)
        for limit in (0.05, 0.5):
            np.testing.assert_array_equal(
                suppress(boxes, order, limit, CELL), greedy(boxes, order, limit)
            )

    def test_without_boxes_keeps_none(self) -> None:
        found = suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0.5, CELL)
        assert found.shape == (0,)
        assert found.dtype == bool

    def test_of_identical_boxes_keeps_the_best(self) -> None:
        boxes = np.tile(np.array([3, 4, 13, 20], np.float32), (50, 1))
        order = np.random.default_rng(0).permutation(50)
        assert np.flatnonzero(suppress(boxes, order, 0.5, CELL)).tolist() == [order[0]]

    def test_boxes_without_area_go(self) -> None:
        boxes = np.array([[5, 5, 5, 9], [5, 5, 9, 5], [9, 9, 5, 5], [5, 5, 9, 9]], np.float32)
        assert suppress(boxes, np.arange(4), 0.5, CELL).tolist() == [False, False, False, True]

    def test_ten_thousand_boxes_take_no_time(self) -> None:
        rng = np.random.default_rng(0)
        corner = rng.uniform(0, 1000, (10_000, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 40, corner.shape)], 1)
        boxes = boxes.astype(np.float32)
        order = rng.permutation(len(boxes))
        suppress(boxes[:9], np.arange(9), 0.7, CELL)  # compiled by now
        start = time.process_time()
        keep = suppress(boxes, order, 0.7, CELL)
        assert time.process_time() - start < 1
        assert 0 < np.count_nonzero(keep) < len(boxes)


def drawn_slowly(
    masks: np.ndarray,
    windows: np.ndarray,
    confidence: np.ndarray,
    shape: tuple[int, int],
    same: float,
) -> np.ndarray:
    """Return the label image as :func:`draw` describes it, with scipy's interpolation."""
    labels, claim = np.zeros(shape, np.int32), np.zeros(shape)
    size = masks.shape[1]
    for i in np.argsort(-confidence):
        y0, x0, y1, x1 = windows[i].astype(np.float64)
        y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
        at = (y - y0) * size / (y1 - y0) - 0.5, (x - x0) * size / (x1 - x0) - 0.5
        logit = map_coordinates(masks[i].astype(np.float64), at, order=1, mode="nearest")
        inside = (y >= y0) & (y <= y1) & (x >= x0) & (x <= x1) & (logit > 0)
        if not inside.any() or np.count_nonzero(labels[inside]) > same * np.count_nonzero(inside):
            continue
        value = confidence[i] / (1 + np.exp(-logit))
        wins = inside & (value > claim)
        claim[wins], labels[wins] = value[wins], i + 1
    return labels


def hills(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return logits (N, 28, 28) of ragged discs of different height and size."""
    at = (np.arange(MASK_SIZE) + 0.5) / MASK_SIZE * 2 - 1
    distance = np.hypot(at[:, None], at)
    rough = rng.normal(0, 0.4, (count, MASK_SIZE, MASK_SIZE))
    height, radius = rng.uniform(2, 8, (count, 1, 1)), rng.uniform(0.5, 1.0, (count, 1, 1))
    return (height * (radius - distance) * 2 + rough).astype(np.float32)


def random_windows(rng: np.random.Generator, count: int, field: float) -> np.ndarray:
    corner = rng.uniform(-15, field, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(3, 40, (count, 2))], 1).astype(np.float32)


class TestDraw:
    @pytest.mark.parametrize("shape", [(64, 80), (1, 1), (3, 50)])
    @pytest.mark.parametrize("same", [0.4, 1.0])
    def test_agrees_with_drawing_slowly(self, shape: tuple[int, int], same: float) -> None:
        rng = np.random.default_rng(0)
        masks, windows = hills(rng, 40), random_windows(rng, 40, max(shape))
        windows[:4] = [[-1, -1, 3, 3], [0, 0, 1, 1], [-9, -9, 90, 90], [0.2, 0.2, 0.9, 0.7]]
        confidence = (rng.permutation(40) + 10).astype(np.float32) / 50
        found = draw(masks, windows, confidence, np.argsort(-confidence), *shape, same)
        assert found.dtype == np.int32
        expected = drawn_slowly(masks, windows, confidence, shape, same)
        # Single pixels on the edge of a mask may differ, by the rounding of floats.
        assert np.count_nonzero(found != expected) <= 0.002 * found.size
        assert found.any()

    @pytest.mark.parametrize("seed", range(4))
    def test_the_order_in_which_detections_are_listed_changes_their_labels_alone(
        self, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        masks, windows = hills(rng, 30), random_windows(rng, 30, 60)
        confidence = (rng.permutation(30) + 1).astype(np.float32) / 31
        expected = draw(masks, windows, confidence, np.argsort(-confidence), 70, 70, 0.4)
        mixed = rng.permutation(30)
        order = np.argsort(-confidence[mixed])
        found = draw(masks[mixed], windows[mixed], confidence[mixed], order, 70, 70, 0.4)
        back = np.concatenate([[0], mixed + 1])
        np.testing.assert_array_equal(back[found], expected)

    def test_each_pixel_goes_to_the_largest_product_of_confidence_and_probability(self) -> None:
        at = np.arange(MASK_SIZE, dtype=np.float32)
        falling = np.broadcast_to(6 - at * 0.25, (MASK_SIZE, MASK_SIZE))
        masks = np.ascontiguousarray(np.stack([falling, falling[:, ::-1]]))
        windows = np.array([[0, 0, 28, 28], [0, 10, 28, 38]], np.float32)
        confidence = np.array([0.8, 0.9], np.float32)
        found = draw(masks, windows, confidence, np.array([1, 0]), 28, 38, 1.0)
        value = np.zeros((2, 38))
        value[0, :28] = np.where(falling[0] > 0, 0.8 / (1 + np.exp(-falling[0])), 0)
        value[1, 10:] = np.where(falling[0, ::-1] > 0, 0.9 / (1 + np.exp(-falling[0, ::-1])), 0)
        expected = np.where(value.max(axis=0) > 0, value.argmax(axis=0) + 1, 0)
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))
        assert np.count_nonzero((value > 0).all(axis=0)) == 10, "columns that both claim"

    def test_the_earlier_wins_a_tie(self) -> None:
        masks = np.full((2, MASK_SIZE, MASK_SIZE), 5, np.float32)
        windows = np.array([[0, 0, 10, 10], [0, 7, 10, 17]], np.float32)
        confidence = np.array([0.5, 0.5], np.float32)
        for order, border in ((np.array([0, 1]), 10), (np.array([1, 0]), 7)):
            found = draw(masks, windows, confidence, order, 10, 17, 0.4)
            np.testing.assert_array_equal(found[:, :border], 1)
            np.testing.assert_array_equal(found[:, border:], 2)

    def test_a_nucleus_that_is_there_already_is_left_out(self) -> None:
        masks = np.full((3, MASK_SIZE, MASK_SIZE), 5, np.float32)
        windows = np.array([[0, 0, 20, 20], [0, 11, 20, 31], [0, 13, 20, 33]], np.float32)
        confidence = np.array([0.9, 0.8, 0.5], np.float32)
        order = np.arange(3)
        # The second lies by 45 % on the first; the third lies on the second alone, by 90 %.
        found = draw(masks, windows, confidence, order, 20, 40, 0.4)
        assert set(np.unique(found)) == {0, 1, 3}
        found = draw(masks, windows, confidence, order, 20, 40, 0.5)
        assert set(np.unique(found)) == {0, 1, 2}

    def test_empty_masks_and_windows_beyond_the_image_draw_nothing(self) -> None:
        masks = np.full((7, MASK_SIZE, MASK_SIZE), 5, np.float32)
        masks[0] = -5
        windows = np.array(
            [
                [0, 0, 20, 20],  # an empty mask
                [-30, 0, -1, 20],
                [0, 33, 20, 60],
                [500, 500, 900, 900],
                [3.6, 3.6, 4.4, 4.4],  # between the centres of pixels
                [7, 7, 7, 7],
                [7.5, 0, 7.5, 20],  # no height, on the centres of a row of pixels
            ],
            np.float32,
        )
        confidence = np.linspace(0.9, 0.5, 7, dtype=np.float32)
        found = draw(masks, windows, confidence, np.arange(7), 32, 33, 0.4)
        np.testing.assert_array_equal(found, 0)

    def test_no_masks_draw_nothing(self) -> None:
        masks = np.zeros((0, MASK_SIZE, MASK_SIZE), np.float32)
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        np.testing.assert_array_equal(draw(masks, *nothing, 5, 6, 0.4), np.zeros((5, 6)))

    def test_a_window_far_larger_than_the_image_fills_it(self) -> None:
        masks = np.full((1, MASK_SIZE, MASK_SIZE), 1e4, np.float32)
        windows = np.array([[-1e5, -1e5, 1e5, 1e5]], np.float32)
        found = draw(masks, windows, np.ones(1, np.float32), np.zeros(1, np.int64), 9, 7, 0.4)
        np.testing.assert_array_equal(found, 1)


class MarkedDiscs:
    """Stands in for the network: finds discs whose centre is marked by their diameter in px.

    A mark is four pixels around the middle of a place of the level to which the diameter belongs,
    so that mirrored images show the same marks. Every disc scores ``score``, of quality 1.
    """

    def __init__(self, score: float = 0.95) -> None:
        self._logit = float(np.log(score / (1 - score)))

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        return self._first, self._boxes, self._masks

    def _first(self, image: Any, training: bool) -> list[Any]:
        logits = []
        for stride, sizes in zip(ANCHOR_STRIDES, SIZES, strict=True):
            mark: Any = ops.max_pool(image, stride)
            size: Any = ops.maximum(mark, 1e-3)
            octaves: Any = ops.log2(size / np.array(sizes, np.float32))
            unlike: Any = ops.abs(octaves)
            logits.append(ops.reshape(8 - 60 * unlike, (1, -1)))
        found: Any = ops.concatenate(logits, axis=1)
        maps = [ops.max_pool(image, stride) for stride in (2, 4, 8, 16)]
        zeros: Any = ops.zeros_like(found)
        return [*maps, found, ops.repeat(zeros[..., None], 4, axis=-1)]

    def _boxes(self, features: Any, training: bool) -> tuple[Any, Any]:
        zero: Any = ops.zeros_like(features[:, 0, 0, :1])
        return zero + self._logit, ops.repeat(zero, 4, axis=1)

    def _masks(self, features: Any, training: bool) -> tuple[Any, Any]:
        at = ((np.arange(MASK_SIZE) + 0.5) / MASK_SIZE - 0.5) * (1 + 2 * MASK_MARGIN)
        disc = ((0.5 - np.hypot(at[:, None], at)) * 40).astype(np.float32)
        zero: Any = ops.zeros_like(features[:, 0, 0, :1])
        return zero[..., None] + disc, zero + 20


def marked(shape: tuple[int, int], places: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    """Return the marked plane and the true labels of discs at (level, row, column)."""
    plane, truth = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for number, (level, row, column) in enumerate(places):
        stride, diameter = ANCHOR_STRIDES[level], SIZES[level][1]
        middle = int((row + 0.5) * stride), int((column + 0.5) * stride)
        plane[middle[0] - 1 : middle[0] + 1, middle[1] - 1 : middle[1] + 1] = diameter
        truth[(y - middle[0]) ** 2 + (x - middle[1]) ** 2 < (diameter / 2) ** 2] = number + 1
    return plane, truth


def check(found: Segmentation, truth: np.ndarray, least: float = 0.9) -> None:
    """Check that every true disc is one label, with an IoU of ``least``, and has a score."""
    assert found.labels.shape == truth.shape
    assert found.labels.dtype == np.int32
    assert found.scores is not None
    assert found.labels.max(initial=0) <= len(found.scores)
    labels = np.setdiff1d(np.unique(found.labels), [0])
    assert len(labels) == len(np.unique(truth[truth > 0]))
    for number in np.setdiff1d(np.unique(truth), [0]):
        inside = truth == number
        label = np.bincount(found.labels[inside]).argmax()
        assert label > 0
        shown = found.labels == label
        assert np.count_nonzero(shown & inside) > least * np.count_nonzero(shown | inside)


PLACES = [(0, 3, 4), (0, 3, 9), (0, 20, 5), (1, 4, 2), (1, 8, 1), (2, 3, 3), (0, 1, 14)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(MarkedDiscs())


class TestDetector:
    @pytest.mark.parametrize("views", [1, 4])
    @pytest.mark.parametrize("shape", [(96, 96), (90, 71)])
    def test_finds_what_is_marked(
        self, detector: Detector, shape: tuple[int, int], views: int
    ) -> None:
        plane, truth = marked(shape, PLACES)
        found = detector.find(plane, Thresholds(), views)
        check(found, truth)
        assert found.scores is not None
        np.testing.assert_allclose(found.scores, 0.95, rtol=1e-4)

    @pytest.mark.parametrize("shape", [(1, 1), (5, 70), (64, 64)])
    @pytest.mark.parametrize("views", [1, 4])
    def test_finds_nothing_where_nothing_is(
        self, detector: Detector, shape: tuple[int, int], views: int
    ) -> None:
        found = detector.find(np.zeros(shape, np.float32), Thresholds(), views)
        check(found, np.zeros(shape, np.int32))
        assert found.scores is not None
        assert len(found.scores) == 0

    def test_nuclei_below_the_threshold_are_left_out(self, detector: Detector) -> None:
        plane, truth = marked((96, 96), PLACES)
        check(detector.find(plane, Thresholds(score=0.94)), truth)
        check(detector.find(plane, Thresholds(score=0.96)), np.zeros_like(truth))

    @pytest.mark.parametrize("views", [1, 4])
    def test_more_views_do_not_make_scores_higher(self, views: int) -> None:
        plane, truth = marked((96, 96), PLACES)
        unsure = Detector(MarkedDiscs(0.35))
        check(unsure.find(plane, Thresholds(score=0.34), views), truth)
        check(unsure.find(plane, Thresholds(score=0.36), views), np.zeros_like(truth))

    def test_masks_end_at_the_image(self, detector: Detector) -> None:
        # Discs that reach into what the image is filled up with. Their boxes end at the image, and
        # the stand-in draws a whole disc, squeezed, into each.
        plane, truth = marked((50, 37), [(1, 5, 1), (0, 3, 8), (0, 12, 6)])
        check(detector.find(plane, Thresholds()), truth, least=0.65)

    def test_finds_a_thousand_nuclei(self, detector: Detector) -> None:
        places = [(0, row, column) for row in range(1, 100, 3) for column in range(1, 94, 3)]
        plane, truth = marked((400, 380), places)
        assert len(places) > 1000
        check(detector.find(plane, Thresholds()), truth)

    def test_planes_of_any_layout_and_kind_of_number_do(self, detector: Detector) -> None:
        plane, truth = marked((96, 96), PLACES)
        expected = detector.find(plane, Thresholds())
        others: tuple[Any, ...] = (
            np.asfortranarray(plane),
            plane.astype(np.float64),
            plane[:, ::-1][:, ::-1],
        )
        for other in others:
            found = detector.find(other, Thresholds())
            np.testing.assert_array_equal(found.labels, expected.labels)
        check(expected, truth)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_an_untrained_network_gives_valid_labels(tiny: Preset, precision: str) -> None:
    detector = Detector(MaskRCNN(tiny, precision))
    plane = np.random.default_rng(0).random((50, 70), dtype=np.float32)
    thresholds = Thresholds(proposal=0.015, score=0.05)
    found = detector.find(plane, thresholds)
    again = detector.find(plane, thresholds)
    assert found.labels.shape == plane.shape
    assert found.scores is not None
    assert found.labels.max() <= len(found.scores)
    assert (found.scores >= 0.05).all()
    np.testing.assert_array_equal(found.labels, again.labels)
    np.testing.assert_array_equal(found.scores, again.scores)
