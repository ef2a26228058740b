"""Boxes: encoding and decoding undo each other, and the overlap is that of counted pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from cellseg_backends.maskrcnn.boxes import decode, encode, iou


def numbers(value: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value))


@st.composite
def boxes(draw: st.DrawFn, low: float = 4.0, high: float = 16.0) -> np.ndarray:
    """Return boxes (N, 4) in a field of 512 px whose edges are from ``low`` to ``high``."""
    count = draw(st.integers(1, 5))
    place, edge = st.floats(-20, 512, width=32), st.floats(low, high, width=32)
    corner = np.array([[draw(place), draw(place)] for _ in range(count)], np.float32)
    size = np.array([[draw(edge), draw(edge)] for _ in range(count)], np.float32)
    return np.concatenate([corner, corner + size], axis=1)


@settings(deadline=None, max_examples=50)
@given(boxes(), boxes())
def test_decoding_undoes_encoding(some: np.ndarray, references: np.ndarray) -> None:
    # Edges differ at most fourfold here, within the fivefold that decoding allows.
    count = min(len(some), len(references))
    some, references = some[:count], references[:count]
    deltas = encode(some, references)
    np.testing.assert_allclose(numbers(decode(deltas, references)), some, atol=2e-3)


def test_a_box_is_at_delta_zero_from_itself() -> None:
    box = np.array([[3.0, 4.0, 13.0, 30.0]], np.float32)
    np.testing.assert_array_equal(numbers(encode(box, box)), 0)
    np.testing.assert_allclose(numbers(decode(np.zeros((1, 4)), box)), box)


def test_deltas_are_shifts_in_tenths_and_log_sizes_in_fifths_of_the_reference() -> None:
    reference = np.array([0.0, 0.0, 10.0, 20.0], np.float32)
    box = np.array([1.0, 0.0, 11.0, 20.0 * np.e], np.float32)
    shift = 10 * (10 * np.e - 10) / 20
    np.testing.assert_allclose(numbers(encode(box, reference)), [1, shift, 0, 5], atol=1e-4)


def test_wild_deltas_give_finite_boxes_at_most_five_times_as_large() -> None:
    reference = np.array([[10.0, 10.0, 20.0, 30.0]] * 3, np.float32)
    deltas = np.array([[0, 0, 1e30, -1e30], [1e6, -1e6, 80, 80], [0, 0, -1e9, 1e9]], np.float32)
    found = numbers(decode(deltas, reference))
    assert np.isfinite(found).all()
    edges = found[:, 2:] - found[:, :2]
    assert (edges > 0).all()
    assert (edges <= 5 * np.array([10, 20])).all()


def test_boxes_without_area_encode_to_finite_deltas() -> None:
    point = np.array([[5.0, 5.0, 5.0, 5.0]], np.float32)
    box = np.array([[0.0, 0.0, 10.0, 10.0]], np.float32)
    for deltas in (encode(point, box), encode(box, point), encode(point, point)):
        assert np.isfinite(numbers(deltas)).all()


def test_half_precision_deltas_do_not_round_the_places() -> None:
    reference = np.array([[301.0, 777.0, 311.0, 787.0]], np.float32)
    deltas = ops.zeros((1, 4), "bfloat16")
    np.testing.assert_array_equal(numbers(decode(deltas, reference)), reference)


def pixel_overlap(one: np.ndarray, other: np.ndarray) -> float:
    fields = []
    for y0, x0, y1, x1 in (one, other):
        field = np.zeros((24, 24), bool)
        field[y0:y1, x0:x1] = True
        fields.append(field)
    union = np.count_nonzero(fields[0] | fields[1])
    return np.count_nonzero(fields[0] & fields[1]) / union if union else 0.0


@st.composite
def pixel_boxes(draw: st.DrawFn) -> np.ndarray:
    """Return boxes (N, 4) with edges between pixels, some of them without area."""
    place = st.integers(0, 24)
    pairs = [sorted((draw(place), draw(place))) for _ in range(2 * draw(st.integers(1, 4)))]
    return np.array([[a, c, b, d] for (a, b), (c, d) in zip(pairs[::2], pairs[1::2], strict=True)])


@settings(deadline=None, max_examples=50)
@given(pixel_boxes(), pixel_boxes())
def test_the_overlap_is_that_of_counted_pixels(some: np.ndarray, others: np.ndarray) -> None:
    expected = [[pixel_overlap(one, other) for other in others] for one in some]
    found = numbers(iou(some.astype(np.float32), others.astype(np.float32)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_overlaps_are_taken_image_by_image() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (2, 7, 2)).astype(np.float32)
    some = np.concatenate([corners, corners + 20], axis=-1)
    found = numbers(iou(some[:, :3], some[:, 3:]))
    assert found.shape == (2, 3, 4)
    for image in range(2):
        np.testing.assert_allclose(found[image], numbers(iou(some[image, :3], some[image, 3:])))
