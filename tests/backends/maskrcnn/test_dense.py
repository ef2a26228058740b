"""The task for every pixel."""

from __future__ import annotations

import numpy as np
from keras import ops
from scipy import ndimage

from cellseg_backends.maskrcnn.dense import DENSE_CLASSES, dense_head, dense_loss, dense_targets


def labels() -> np.ndarray:
    plane = np.zeros((2, 16, 24), np.int32)
    plane[0, 2:9, 3:10] = 4
    plane[0, 2:9, 10:15] = 1  # touches the first
    plane[0, 12:, :5] = 2  # at the edge of the image
    return plane


def targets() -> np.ndarray:
    expected = np.zeros((2, 16, 24), int)
    for found, plane in zip(expected, labels(), strict=True):
        padded = np.pad(plane, 1, mode="edge")
        low = ndimage.minimum_filter(padded, 3)[1:-1, 1:-1]
        high = ndimage.maximum_filter(padded, 3)[1:-1, 1:-1]
        found[plane > 0] = np.where(low != high, 2, 1)[plane > 0]
    return expected


def test_pixels_are_background_inside_or_border() -> None:
    np.testing.assert_array_equal(ops.convert_to_numpy(dense_targets(labels())), targets())
    assert set(np.unique(targets())) == {0, 1, 2}


def test_the_right_answer_costs_nothing_and_ignorance_the_logarithm_of_three() -> None:
    right = 40.0 * np.eye(DENSE_CLASSES, dtype=np.float32)[targets()]
    blocks = right.reshape(2, 8, 2, 12, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 8, 12, 12)
    assert float(dense_loss(blocks, labels())) < 1e-6
    np.testing.assert_allclose(float(dense_loss(0 * blocks, labels())), np.log(3), rtol=1e-5)
    assert float(dense_loss(blocks[..., ::-1], labels())) > 10


def test_the_head_gives_three_logits_for_each_of_four_pixels() -> None:
    found = dense_head(8)(np.zeros((1, 4, 6, 8), np.float32))
    assert tuple(found.shape) == (1, 4, 6, 12)
