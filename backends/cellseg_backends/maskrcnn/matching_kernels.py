"""Compiled loop: which nucleus each anchor answers for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["match_anchors"]


@kernel
def match_anchors(
    anchors: NDArray[np.float32], boxes: NDArray[np.float32], positive: float, negative: float
) -> NDArray[np.int32]:
    """Return for each anchor (N, 4) the number of its box, -1 for none, -2 for undecided.

    An anchor answers for the box that it overlaps most if their IoU is at least ``positive``, for
    none if it is below ``negative``. Every box also gets the anchor that overlaps it most, if any
    does; of several boxes the one that it overlaps most. Ties go to the earlier.
    """
    best = np.zeros(anchors.shape[0], np.float32)
    match = np.full(anchors.shape[0], -1, np.int32)
    favourite = np.full(boxes.shape[0], -1, np.int64)
    overlap = np.zeros(boxes.shape[0], np.float32)
    for j in range(boxes.shape[0]):
        y0, x0, y1, x1 = boxes[j]
        area = (y1 - y0) * (x1 - x0)
        most = np.float32(0)
        for i in range(anchors.shape[0]):
            h = min(y1, anchors[i, 2]) - max(y0, anchors[i, 0])
            if h <= 0:
                continue
            w = min(x1, anchors[i, 3]) - max(x0, anchors[i, 1])
            if w <= 0:
                continue
            common = h * w
            other = (anchors[i, 2] - anchors[i, 0]) * (anchors[i, 3] - anchors[i, 1])
            iou = common / (area + other - common)
            if iou > best[i]:
                best[i] = iou
                match[i] = j
            if iou > most:
                most = iou
                favourite[j] = i
        overlap[j] = most
    for i in range(anchors.shape[0]):
        if best[i] < negative:
            match[i] = -1
        elif best[i] < positive:
            match[i] = -2
    won = np.zeros(anchors.shape[0], np.float32)
    for j in range(boxes.shape[0]):
        i = favourite[j]
        if i >= 0 and overlap[j] > won[i]:
            won[i] = overlap[j]
            match[i] = j
    return match
