"""ROI align against scipy's interpolation, level by level."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from scipy.ndimage import map_coordinates

from cellseg_backends.maskrcnn.presets import STRIDES
from cellseg_backends.maskrcnn.roi_align import roi_align

LEVELS = STRIDES[:-1]
HEIGHT, WIDTH = 96, 64


def pyramid(seed: int = 0, batch: int = 2, channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((batch, HEIGHT // s, WIDTH // s, channels)).astype(np.float32)
        for s in LEVELS
    ]


def aligned(maps: list[np.ndarray], boxes: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(roi_align(maps, boxes.astype(np.float32), size)))


def sampled(one: np.ndarray, stride: int, box: np.ndarray, size: int) -> np.ndarray:
    """Return what scipy reads from one map (h, w, C) at the centres of the box's cells."""
    steps = (np.arange(size) + 0.5) / size
    rows = (box[0] + steps * (box[2] - box[0])) / stride - 0.5
    columns = (box[1] + steps * (box[3] - box[1])) / stride - 0.5
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.stack(
        [map_coordinates(one[..., c], at, order=1, mode="nearest") for c in range(one.shape[-1])],
        axis=-1,
    )


@pytest.mark.parametrize("size", [1, 7, 14])
def test_each_level_is_sampled_as_scipy_samples_it(size: int) -> None:
    maps = pyramid()
    rng = np.random.default_rng(1)
    for level, stride in enumerate(LEVELS):
        # Boxes whose samples lie 0.75 to 1.35 strides apart; some reach beyond the image.
        edges = size * stride * rng.uniform(0.75, 1.35, (2, 20, 1))
        aspect = rng.uniform(0.9, 1.1, (2, 20, 1))
        corner = rng.uniform(-10, (HEIGHT, WIDTH), (2, 20, 2))
        boxes = np.concatenate(
            [corner, corner + np.concatenate([edges * aspect, edges / aspect], -1)], axis=-1
        )
        found = aligned(maps, boxes, size)
        assert found.shape == (2, 20, size, size, 3)
        expected = [
            [sampled(maps[level][b], stride, boxes[b, r], size) for r in range(20)]
            for b in range(2)
        ]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_level_is_the_one_whose_stride_is_nearest_to_the_distance_of_samples() -> None:
    maps = [
        np.full((1, HEIGHT // s, WIDTH // s, 1), level, np.float32)
        for level, s in enumerate(LEVELS)
    ]
    size = 7
    for edge, level in [(0.5, 0), (19, 0), (20.5, 1), (39, 1), (40.5, 2), (78, 2), (80, 3)]:
        box = np.array([[[0, 0, edge, edge]]])
        np.testing.assert_allclose(aligned(maps, box, size), level, atol=1e-5)
    # The last: an elongated box counts by its area.
    for box, level in [((0, 0, 900, 900), 3), ((0, 0, 56, 14), 1)]:
        np.testing.assert_allclose(aligned(maps, np.array([[box]]), size), level, atol=1e-5)


def test_maps_that_tell_their_places_give_the_places_of_the_cells() -> None:
    maps = []
    for stride in LEVELS:
        one = np.zeros((1, HEIGHT // stride, WIDTH // stride, 2), np.float32)
        one[..., 0] = ((np.arange(HEIGHT // stride) + 0.5) * stride)[:, None]
        one[..., 1] = (np.arange(WIDTH // stride) + 0.5) * stride
        maps.append(one)
    boxes = np.array([[[20.0, 16.0, 34.0, 37.0], [24.5, 20.25, 60.0, 50.0]]])
    found = aligned(maps, boxes, 7)
    steps = (np.arange(7) + 0.5) / 7
    for number, (y0, x0, y1, x1) in enumerate(boxes[0]):
        np.testing.assert_allclose(found[0, number, :, 3, 0], y0 + steps * (y1 - y0), atol=1e-3)
        np.testing.assert_allclose(found[0, number, 3, :, 1], x0 + steps * (x1 - x0), atol=1e-3)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 0, 0), (5, 5, 5, 5), (-300, -300, -200, -200), (900, 900, 990, 990), (9, 9, 3, 3)],
    ids=["zeros", "a point", "before the image", "after it", "edges swapped"],
)
def test_strange_boxes_give_finite_features(box: tuple[int, ...]) -> None:
    maps = pyramid(batch=1)
    found = aligned(maps, np.array([[box]]), 7)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= max(np.abs(one).max() for one in maps)


def test_images_and_boxes_do_not_influence_each_other() -> None:
    maps = pyramid()
    boxes = np.random.default_rng(2).uniform(0, 30, (2, 9, 2))
    boxes = np.concatenate([boxes, boxes + 25], axis=-1)
    whole = aligned(maps, boxes, 7)
    for b in range(2):
        alone = aligned([one[b : b + 1] for one in maps], boxes[b : b + 1, ::-1], 7)
        np.testing.assert_array_equal(alone[0, ::-1], whole[b])


def test_half_precision_maps_give_half_precision_features() -> None:
    maps = pyramid(batch=1)
    boxes = np.array([[[3.0, 5.0, 40.0, 38.0], [60.0, 20.0, 90.0, 63.0]]], np.float32)
    half = roi_align([ops.cast(one, "bfloat16") for one in maps], boxes, 7)
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"
    np.testing.assert_allclose(
        np.asarray(ops.cast(half, "float32")), aligned(maps, boxes, 7), atol=0.05
    )
