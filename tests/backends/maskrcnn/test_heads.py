"""The heads of the second stage: shapes, precision, and what teaches what."""

from __future__ import annotations

from typing import Any

import attrs
import keras
import numpy as np
import pytest
from keras import ops

from cellseg_backends.maskrcnn.heads import (
    BOX_CELLS,
    MASK_CELLS,
    MASK_SIZE,
    box_head,
    mask_head,
)
from cellseg_backends.maskrcnn.presets import Preset


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def heads(request: pytest.FixtureRequest, tiny: Preset) -> tuple[keras.Model, keras.Model]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    try:
        return box_head(tiny), mask_head(tiny)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("count", [1, 5])
def test_outputs_have_their_shapes_and_full_precision(
    heads: tuple[keras.Model, keras.Model], tiny: Preset, count: int
) -> None:
    boxes, masks = heads
    logit, deltas = boxes(np.ones((count, BOX_CELLS, BOX_CELLS, tiny.pyramid), np.float32))
    shapes, quality = masks(np.ones((count, MASK_CELLS, MASK_CELLS, tiny.pyramid), np.float32))
    assert logit.shape == (count, 1)
    assert deltas.shape == (count, 4)
    assert shapes.shape == (count, MASK_SIZE, MASK_SIZE)
    assert quality.shape == (count, 1)
    for one in (logit, deltas, shapes, quality):
        assert keras.backend.standardize_dtype(one.dtype) == "float32"
        assert bool(ops.all(ops.isfinite(one)))


def test_boxes_start_where_their_regions_are(tiny: Preset) -> None:
    features = np.random.default_rng(0).standard_normal((9, BOX_CELLS, BOX_CELLS, tiny.pyramid))
    _, deltas = box_head(tiny)(features.astype(np.float32))
    np.testing.assert_allclose(np.asarray(deltas), 0, atol=0.1)


def test_the_sizes_come_from_the_preset(tiny: Preset) -> None:
    large = attrs.evolve(tiny, mask_convs=3, box_units=32)
    assert len(mask_head(large).weights) == len(mask_head(tiny).weights) + 2 * 2
    assert box_head(large).get_layer("box_common2").units == 32


def test_the_quality_does_not_teach_the_masks(tiny: Preset) -> None:
    head = mask_head(tiny)
    features = np.random.default_rng(0).standard_normal((4, MASK_CELLS, MASK_CELLS, tiny.pyramid))

    class QualityOnly(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return ops.square(y_pred - y_true)

    head.compile(
        optimizer=keras.optimizers.SGD(0.1), loss=[lambda _, p: ops.sum(p * 0), QualityOnly()]
    )
    before = {one.path: one.numpy().copy() for one in head.weights}
    head.train_on_batch(
        features.astype(np.float32), [np.zeros((4, MASK_SIZE, MASK_SIZE)), np.full((4, 1), 3.0)]
    )
    changed = {
        one.path.split("/")[-2]
        for one in head.weights
        if not np.array_equal(before[one.path], one.numpy())
    }
    assert changed == {"quality_conv", "quality_common", "quality_logit"}
