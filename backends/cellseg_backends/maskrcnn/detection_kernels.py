"""Compiled loops of inference: fewer boxes for each nucleus, and masks drawn into a label image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel
from cellseg_core.protocols import Labels

__all__ = ["draw", "suppress"]


@kernel
def suppress(
    boxes: NDArray[np.float32], order: NDArray[np.int64], limit: float, cell: float
) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) stay: True where no better one overlaps by an IoU over ``limit``.

    ``order`` lists the boxes from the best on. Greedy non-maximum suppression; a grid of ``cell``
    px, each place of which lists the boxes whose centre it holds, finds neighbours. Two boxes
    whose centres are farther apart than half the sum of their edges do not meet, so a ring of
    places as wide as the largest box is looked at.
    """
    count = boxes.shape[0]
    keep = np.zeros(count, np.bool_)
    if count == 0:
        return keep
    top, left = boxes[:, 0].min(), boxes[:, 1].min()
    rows = int((boxes[:, 2].max() - top) / cell) + 1
    columns = int((boxes[:, 3].max() - left) / cell) + 1
    head = np.full((rows, columns), -1, np.int64)
    following = np.full(count, -1, np.int64)
    # How far apart centres of a kept box and of another one can be, by the kept box's size.
    largest_h, largest_w = np.float32(0), np.float32(0)
    for i in order:
        y0, x0, y1, x1 = boxes[i]
        h, w = y1 - y0, x1 - x0
        if h <= 0 or w <= 0:
            continue
        cy, cx = (y0 + y1) / 2, (x0 + x1) / 2
        area = h * w
        first_row = max(0, int((cy - (h + largest_h) / 2 - top) / cell))
        last_row = min(rows - 1, int((cy + (h + largest_h) / 2 - top) / cell))
        first_col = max(0, int((cx - (w + largest_w) / 2 - left) / cell))
        last_col = min(columns - 1, int((cx + (w + largest_w) / 2 - left) / cell))
        good = True
        for row in range(first_row, last_row + 1):
            for column in range(first_col, last_col + 1):
                j = head[row, column]
                while j >= 0 and good:
                    common_h = min(y1, boxes[j, 2]) - max(y0, boxes[j, 0])
                    common_w = min(x1, boxes[j, 3]) - max(x0, boxes[j, 1])
                    if common_h > 0 and common_w > 0:
                        common = common_h * common_w
                        other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
                        if common > limit * (area + other - common):
                            good = False
                    j = following[j]
                if not good:
                    break
            if not good:
                break
        if good:
            keep[i] = True
            largest_h, largest_w = max(largest_h, h), max(largest_w, w)
            row, column = int((cy - top) / cell), int((cx - left) / cell)
            following[i] = head[row, column]
            head[row, column] = i
    return keep


@kernel
def draw(
    masks: NDArray[np.float32],
    windows: NDArray[np.float32],
    confidence: NDArray[np.float32],
    order: NDArray[np.int64],
    height: int,
    width: int,
    same: float,
) -> Labels:
    """Return a label image (H, W) with label ``i + 1`` for mask ``i``.

    ``masks`` (N, S, S) are logits over ``windows`` (N, 4), sampled at each pixel's centre; a pixel
    belongs to a mask where the logit is positive. Masks are taken in ``order``, from the most
    confident on; one that lies by more than ``same`` of its area on pixels that are taken shows a
    nucleus that is there already, and is left out. A pixel that several claim goes to the largest
    product of confidence and the mask's probability there; the earlier in order wins a tie.
    """
    count, size = masks.shape[0], masks.shape[1]
    labels = np.zeros((height, width), np.int32)
    claim = np.zeros((height, width), np.float32)
    for k in range(count):
        i = order[k]
        y0, x0, y1, x1 = windows[i]
        first_row, last_row = max(0, math.ceil(y0 - 0.5)), min(height - 1, math.floor(y1 - 0.5))
        first_col, last_col = max(0, math.ceil(x0 - 0.5)), min(width - 1, math.floor(x1 - 0.5))
        if last_row < first_row or last_col < first_col or y0 >= y1 or x0 >= x1:
            continue
        by_row, by_col = size / (y1 - y0), size / (x1 - x0)
        values = np.zeros((last_row - first_row + 1, last_col - first_col + 1), np.float32)
        area, taken = 0, 0
        for y in range(first_row, last_row + 1):
            v = min(max((y + 0.5 - y0) * by_row - 0.5, 0.0), size - 1.0)
            top = min(int(v), size - 2)
            down = np.float32(v - top)
            for x in range(first_col, last_col + 1):
                u = min(max((x + 0.5 - x0) * by_col - 0.5, 0.0), size - 1.0)
                left = min(int(u), size - 2)
                across = np.float32(u - left)
                upper = masks[i, top, left] * (1 - across) + masks[i, top, left + 1] * across
                lower = (
                    masks[i, top + 1, left] * (1 - across) + masks[i, top + 1, left + 1] * across
                )
                logit = upper * (1 - down) + lower * down
                if logit > 0:
                    values[y - first_row, x - first_col] = confidence[i] / (1 + math.exp(-logit))
                    area += 1
                    if labels[y, x] > 0:
                        taken += 1
        if area == 0 or taken > same * area:
            continue
        for y in range(first_row, last_row + 1):
            for x in range(first_col, last_col + 1):
                value = values[y - first_row, x - first_col]
                if value > claim[y, x]:
                    claim[y, x] = value
                    labels[y, x] = i + 1
    return labels
