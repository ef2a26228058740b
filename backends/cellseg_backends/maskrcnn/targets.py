"""What the second stage is trained on: some of the proposals, and the truth for each."""

from __future__ import annotations

from typing import Any

from keras import ops

from cellseg_backends.maskrcnn.boxes import iou
from cellseg_backends.maskrcnn.heads import MASK_MARGIN

__all__ = ["gather", "grown", "mask_targets", "sample_regions"]

_SAME = 0.5


def gather(values: Any, index: Any) -> Any:
    """Return ``values[b, index[b, i]]`` for values (B, M, ...) and indices (B, I)."""
    batch, rows = values.shape[0], values.shape[1]
    flat = ops.reshape(values, (batch * rows, *values.shape[2:]))
    first = ops.arange(batch, dtype="int32")[:, None] * rows
    return ops.take(flat, first + ops.cast(index, "int32"), axis=0)


def sample_regions(
    candidates: Any, truth: Any, priority: Any, positive: int, negative: int
) -> tuple[Any, Any, Any, Any]:
    """Return the regions to train on: boxes, nucleus numbers, and two masks of what they are.

    Parameters
    ----------
    candidates
        Boxes (B, K, 4): proposals and jittered true boxes; those without area are passed over.
    truth
        True boxes (B, M, 4); unused rows are zeros.
    priority
        (B, K) random numbers in [0, 1): the highest of each sort are taken.
    positive, negative
        How many to take of those that overlap a true box by an IoU of at least 0.5, and of the
        rest. The shapes are fixed; where there are not enough, the masks say so.

    Returns
    -------
    boxes, numbers, is_positive, is_negative
        (B, P + N, 4), (B, P + N) int32, and two (B, P + N) float32: positives come first.
    """
    overlap = iou(candidates, truth)
    best = ops.max(overlap, axis=-1)
    number = ops.cast(ops.argmax(overlap, axis=-1), "int32")
    real = ops.cast(
        (candidates[..., 2] > candidates[..., 0]) & (candidates[..., 3] > candidates[..., 1]),
        "float32",
    )
    inside = ops.cast(best >= _SAME, "float32") * real
    outside = ops.cast(best < _SAME, "float32") * real
    first, taken = ops.top_k(priority + inside, positive)
    second, left = ops.top_k(priority + outside, negative)
    index = ops.concatenate([taken, left], axis=1)
    is_positive = ops.concatenate(
        [ops.cast(first >= 1.0, "float32"), ops.zeros_like(second)], axis=1
    )
    is_negative = ops.concatenate(
        [ops.zeros_like(first), ops.cast(second >= 1.0, "float32")], axis=1
    )
    return gather(candidates, index), gather(number, index), is_positive, is_negative


def grown(boxes: Any) -> Any:
    """Return the boxes (..., 4) that masks cover."""
    height = (boxes[..., 2] - boxes[..., 0]) * MASK_MARGIN
    width = (boxes[..., 3] - boxes[..., 1]) * MASK_MARGIN
    return ops.stack(
        [
            boxes[..., 0] - height,
            boxes[..., 1] - width,
            boxes[..., 2] + height,
            boxes[..., 3] + width,
        ],
        axis=-1,
    )


def mask_targets(labels: Any, boxes: Any, numbers: Any, size: int) -> Any:
    """Return the true masks (B, R, size, size) in [0, 1] of nuclei seen through boxes.

    ``labels`` (B, H, W) holds ``number + 1`` where nucleus ``number`` is; ``boxes`` (B, R, 4) are
    what the masks cover. Values between 0 and 1 are bilinear: the share of the nucleus among the
    four pixels around the sample.
    """
    batch, height, width = labels.shape
    steps = (ops.arange(size, dtype="float32") + 0.5) / size
    extent_y, extent_x = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    rows = boxes[..., 0, None] + steps * extent_y[..., None] - 0.5
    columns = boxes[..., 1, None] + steps * extent_x[..., None] - 0.5
    top, left = ops.floor(rows), ops.floor(columns)
    down, across = (rows - top)[..., :, None], (columns - left)[..., None, :]
    flat = ops.reshape(labels, (-1,))
    first = ops.arange(batch, dtype="int32")[:, None, None, None] * (height * width)
    wanted = numbers[..., None, None] + 1

    def is_nucleus(row: Any, column: Any, weight: Any) -> Any:
        y, x = row[..., :, None], column[..., None, :]
        seen = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = ops.clip(y, 0, height - 1) * width + ops.clip(x, 0, width - 1)
        value = ops.take(flat, first + ops.cast(index, "int32"))
        return ops.cast((value == wanted) & seen, "float32") * weight

    return (
        is_nucleus(top, left, (1 - down) * (1 - across))
        + is_nucleus(top, left + 1, (1 - down) * across)
        + is_nucleus(top + 1, left, down * (1 - across))
        + is_nucleus(top + 1, left + 1, down * across)
    )
