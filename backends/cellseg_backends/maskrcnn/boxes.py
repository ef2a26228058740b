"""Boxes (y0, x0, y1, x1) in px: overlap, and how a box is told relative to another.

Edges are positions, not pixel numbers: the box of one pixel at row 0, column 0 is (0, 0, 1, 1).
Everything is computed in float32: half precision cannot tell pixel 300 from 301.
"""

from __future__ import annotations

from typing import Any

from keras import ops

__all__ = ["decode", "encode", "iou"]

# Deltas are divided by what they typically are, so that all four weigh alike in the loss
# (Girshick 2015).
_CENTRE, _SIZE = 0.1, 0.2


def _parts(boxes: Any) -> tuple[Any, Any, Any, Any]:
    boxes = ops.cast(boxes, "float32")
    height = ops.maximum(boxes[..., 2] - boxes[..., 0], 1e-3)
    width = ops.maximum(boxes[..., 3] - boxes[..., 1], 1e-3)
    return boxes[..., 0] + height / 2, boxes[..., 1] + width / 2, height, width


def encode(boxes: Any, references: Any) -> Any:
    """Return the deltas (..., 4) that :func:`decode` turns into ``boxes``."""
    y, x, h, w = _parts(boxes)
    ry, rx, rh, rw = _parts(references)
    return ops.stack(
        [
            (y - ry) / rh / _CENTRE,
            (x - rx) / rw / _CENTRE,
            ops.log(h / rh) / _SIZE,
            ops.log(w / rw) / _SIZE,
        ],
        axis=-1,
    )


def decode(deltas: Any, references: Any) -> Any:
    """Return the boxes (..., 4) that lie by ``deltas`` from ``references``.

    Sizes change at most fivefold, so that no wild value overflows.
    """
    deltas = ops.cast(deltas, "float32")
    ry, rx, rh, rw = _parts(references)
    y = ry + deltas[..., 0] * _CENTRE * rh
    x = rx + deltas[..., 1] * _CENTRE * rw
    half_h = rh * ops.exp(ops.clip(deltas[..., 2] * _SIZE, -1.6, 1.6)) / 2
    half_w = rw * ops.exp(ops.clip(deltas[..., 3] * _SIZE, -1.6, 1.6)) / 2
    return ops.stack([y - half_h, x - half_w, y + half_h, x + half_w], axis=-1)


def iou(boxes: Any, others: Any) -> Any:
    """Return the intersection over union (..., N, M) of boxes (..., N, 4) and (..., M, 4).

    Boxes without area have an overlap of 0 with everything.
    """
    a, b = boxes[..., :, None, :], others[..., None, :, :]
    height = ops.maximum(ops.minimum(a[..., 2], b[..., 2]) - ops.maximum(a[..., 0], b[..., 0]), 0.0)
    width = ops.maximum(ops.minimum(a[..., 3], b[..., 3]) - ops.maximum(a[..., 1], b[..., 1]), 0.0)
    common = height * width
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return common / ops.maximum(area_a + area_b - common, 1e-6)
