"""Anchors: their sizes and places, and that the network's outputs come in their order."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cellseg_backends.maskrcnn.anchors import ANCHOR_STRIDES, PER_PLACE, SIZES, anchors
from cellseg_backends.maskrcnn.presets import Preset
from cellseg_backends.maskrcnn.proposals import propose


def centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_sizes_go_from_8_to_102_px_three_to_each_doubling() -> None:
    sizes = np.concatenate(SIZES)
    assert sizes[0] == 8
    assert sizes[-1] == pytest.approx(101.6, abs=0.1)
    np.testing.assert_allclose(sizes[1:] / sizes[:-1], 2 ** (1 / 3))


def test_every_square_box_overlaps_some_size_by_79_percent() -> None:
    edges = np.geomspace(SIZES[0][0], SIZES[-1][-1], 500)[:, None]
    sizes = np.concatenate(SIZES)
    overlap = (np.minimum(edges, sizes) / np.maximum(edges, sizes)) ** 2
    assert overlap.max(axis=1).min() > 0.79


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (128, 32)])
def test_anchors_are_squares_around_the_middle_of_every_place(height: int, width: int) -> None:
    boxes = anchors(height, width)
    assert boxes.dtype == np.float32
    start = 0
    for stride, sizes in zip(ANCHOR_STRIDES, SIZES, strict=True):
        rows, columns = height // stride, width // stride
        level = boxes[start : start + rows * columns * PER_PLACE]
        start += len(level)
        edges = level[:, 2:] - level[:, :2]
        np.testing.assert_allclose(edges[:, 0], edges[:, 1], rtol=1e-5)
        np.testing.assert_allclose(
            edges[:, 0].reshape(-1, PER_PLACE), np.tile(sizes, (rows * columns, 1)), rtol=1e-5
        )
        at = centres(level).reshape(rows, columns, PER_PLACE, 2)
        np.testing.assert_allclose(
            at[..., 0], np.broadcast_to(at[:, :1, :1, 0], at.shape[:3]), atol=1e-4
        )
        np.testing.assert_allclose(at[:, 0, 0, 0], (np.arange(rows) + 0.5) * stride, atol=1e-4)
        np.testing.assert_allclose(at[0, :, 0, 1], (np.arange(columns) + 0.5) * stride, atol=1e-4)
    assert start == len(boxes)


def test_the_outputs_of_the_network_come_in_the_order_of_the_anchors(tiny: Preset) -> None:
    # The maps tell their own places; the layers are set so that the outputs repeat them.
    height, width = 64, 96
    inputs = [keras.Input((None, None, tiny.pyramid)) for _ in ANCHOR_STRIDES]
    network = keras.Model(inputs, propose(inputs, tiny))
    common = np.zeros((3, 3, tiny.pyramid, tiny.pyramid), np.float32)
    common[1, 1] = np.eye(tiny.pyramid)
    network.get_layer("proposal_common").set_weights([common, np.zeros(tiny.pyramid)])
    output = np.zeros((1, 1, tiny.pyramid, 5 * PER_PLACE), np.float32)
    bias = np.zeros(5 * PER_PLACE, np.float32)
    for anchor in range(PER_PLACE):
        bias[5 * anchor] = anchor
        for delta in range(3):
            output[0, 0, delta, 5 * anchor + 1 + delta] = 1
    network.get_layer("proposal_output").set_weights([output, bias])

    maps = []
    for stride in ANCHOR_STRIDES:
        one = np.zeros((2, height // stride, width // stride, tiny.pyramid), np.float32)
        one[..., 0] = (np.arange(height // stride) + 0.5)[:, None] * stride
        one[..., 1] = (np.arange(width // stride) + 0.5) * stride
        one[..., 2] = stride
        one[1, ..., :2] += 1000  # the second image of the batch
        maps.append(one)
    logits, deltas = (np.asarray(keras.ops.convert_to_numpy(one)) for one in network(maps))

    boxes = anchors(height, width)
    assert logits.shape == (2, len(boxes))
    for number in range(2):
        np.testing.assert_allclose(deltas[number, :, :2], centres(boxes) + 1000 * number, atol=1e-3)
        size = 2 * deltas[number, :, 2] * 2 ** (logits[number] / PER_PLACE)
        np.testing.assert_allclose(size, boxes[:, 2] - boxes[:, 0], rtol=1e-5)
