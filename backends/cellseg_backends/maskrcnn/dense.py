"""A task for every pixel, in training only: background, inside of a nucleus, or its border.

Boxes teach the finest features little and seldom; this teaches them at every pixel where nuclei end
and where two of them touch. In use it is left out.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

__all__ = ["DENSE_CLASSES", "dense_head", "dense_loss", "dense_targets"]

DENSE_CLASSES = 3
_STRIDE = 2
_BORDER = 2.0  # how much more a border pixel counts than any other


def dense_head(channels: int) -> layers.Conv2D:
    """Return the layer from the finest map (B, H / 2, W / 2, C) to logits, built for C channels.

    Its output (B, H / 2, W / 2, 12) holds the logits of three classes for 2 x 2 pixels.
    """
    head = layers.Conv2D(DENSE_CLASSES * _STRIDE**2, 1, dtype="float32", name="dense")
    head.build((None, None, None, channels))
    return head


def dense_targets(labels: Any) -> Any:
    """Return the class (B, H, W) of each pixel: 0 background, 1 inside, 2 border.

    A border pixel is one of a nucleus with another label, or background, among its eight
    neighbours. Beyond the image the nucleus goes on.
    """
    values = ops.cast(labels, "float32")[..., None]
    highest = ops.max_pool(values, 3, strides=1, padding="same")
    lowest = -ops.max_pool(-values, 3, strides=1, padding="same")
    border = ops.cast(highest != lowest, "int32")[..., 0]
    return ops.cast(labels > 0, "int32") * (1 + border)


def dense_loss(logits: Any, labels: Any) -> Any:
    """Return the mean cross-entropy over the pixels, in which borders weigh more.

    ``logits`` are what :func:`dense_head` gives, ``labels`` (B, H, W).
    """
    batch, height, width = labels.shape
    fine = ops.reshape(
        logits, (batch, height // _STRIDE, width // _STRIDE, _STRIDE, _STRIDE, DENSE_CLASSES)
    )
    fine = ops.transpose(fine, (0, 1, 3, 2, 4, 5))
    fine = ops.reshape(fine, (batch, height, width, DENSE_CLASSES))
    target = dense_targets(labels)
    weight = 1.0 + (_BORDER - 1.0) * ops.cast(target == 2, "float32")
    logarithm = ops.log_softmax(fine, axis=-1)
    chosen = ops.sum(logarithm * ops.one_hot(target, DENSE_CLASSES), axis=-1)
    return -ops.sum(chosen * weight) / ops.sum(weight)
