"""The second stage: what each box holds, its exact box, its mask, and how good the mask is."""

from __future__ import annotations

import keras
from keras import initializers, layers

from cellseg_backends.maskrcnn.presets import Preset

__all__ = ["BOX_CELLS", "MASK_CELLS", "MASK_MARGIN", "MASK_SIZE", "box_head", "mask_head"]

BOX_CELLS = 7
MASK_CELLS = 14
MASK_SIZE = 2 * MASK_CELLS

MASK_MARGIN = 0.125
"""A mask covers its box grown by this share of its size on every side."""


def box_head(preset: Preset) -> keras.Model:
    """Return the model: features (R, 7, 7, C) to logits of a nucleus (R, 1) and deltas (R, 4)."""
    features = keras.Input((BOX_CELLS, BOX_CELLS, preset.pyramid))
    x = layers.Flatten()(features)
    x = layers.Dense(preset.box_units, activation="relu", name="box_common1")(x)
    x = layers.Dense(preset.box_units, activation="relu", name="box_common2")(x)
    logit = layers.Dense(1, dtype="float32", name="box_nucleus")(x)
    deltas = layers.Dense(
        4,
        kernel_initializer=initializers.RandomNormal(stddev=0.001),
        dtype="float32",
        name="box_deltas",
    )(x)
    return keras.Model(features, [logit, deltas], name="box_head")


def mask_head(preset: Preset) -> keras.Model:
    """Return the model: features (R, 14, 14, C) to logits of masks (R, 28, 28) and quality (R, 1).

    The quality is the logit of the IoU that the mask, cut at 0.5, is expected to have with the
    nucleus (Huang et al. 2019, mask scoring); it sees the features and the mask.
    """
    features = keras.Input((MASK_CELLS, MASK_CELLS, preset.pyramid))
    x = features
    for number in range(preset.mask_convs):
        x = layers.Conv2D(
            preset.mask_channels,
            3,
            padding="same",
            activation="relu",
            name=f"mask_conv{number + 1}",
        )(x)
    fine = layers.Conv2DTranspose(
        preset.mask_channels // 2, 2, strides=2, activation="relu", name="mask_enlarge"
    )(x)
    logits = layers.Conv2D(1, 1, dtype="float32", name="mask_logits")(fine)

    seen = layers.AveragePooling2D(2)(keras.ops.stop_gradient(keras.ops.sigmoid(logits)))
    y = layers.Concatenate()([keras.ops.stop_gradient(x), keras.ops.cast(seen, x.dtype)])
    y = layers.Conv2D(
        preset.mask_channels // 2,
        3,
        strides=2,
        padding="same",
        activation="relu",
        name="quality_conv",
    )(y)
    y = layers.Dense(preset.mask_channels, activation="relu", name="quality_common")(
        layers.Flatten()(y)
    )
    quality = layers.Dense(1, dtype="float32", name="quality_logit")(y)
    logits = layers.Reshape((MASK_SIZE, MASK_SIZE), dtype="float32")(logits)
    return keras.Model(features, [logits, quality], name="mask_head")
