"""Region proposals before training: hardly any, and their boxes are the anchors."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cellseg_backends.maskrcnn.anchors import ANCHOR_STRIDES, anchors
from cellseg_backends.maskrcnn.presets import Preset
from cellseg_backends.maskrcnn.proposals import propose


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_nearly_every_anchor_starts_as_background_with_its_own_box(
    tiny: Preset, precision: str
) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        inputs = [keras.Input((None, None, tiny.pyramid)) for _ in ANCHOR_STRIDES]
        network = keras.Model(inputs, propose(inputs, tiny))
    finally:
        keras.config.set_dtype_policy(before)
    rng = np.random.default_rng(0)
    maps = [
        rng.standard_normal((2, 64 // stride, 32 // stride, tiny.pyramid)).astype(np.float32)
        for stride in ANCHOR_STRIDES
    ]
    logits, deltas = network(maps)
    count = len(anchors(64, 32))
    assert logits.shape == (2, count)
    assert deltas.shape == (2, count, 4)
    for one in (logits, deltas):
        assert keras.backend.standardize_dtype(one.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(logits), -4, atol=0.5)
    np.testing.assert_allclose(np.asarray(deltas), 0, atol=0.5)


def test_one_network_serves_all_levels(tiny: Preset) -> None:
    inputs = [keras.Input((None, None, tiny.pyramid)) for _ in ANCHOR_STRIDES]
    network = keras.Model(inputs, propose(inputs, tiny))
    assert len(network.weights) == 4
