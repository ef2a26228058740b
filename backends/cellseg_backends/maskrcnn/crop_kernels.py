"""Compiled loops that cut training crops: a warped window of an image and of its labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel
from cellseg_core.protocols import Labels

__all__ = ["boxes_of", "warp"]


@kernel
def warp(
    plane: NDArray[np.float32],
    labels: Labels,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    size: int,
) -> tuple[NDArray[np.float32], Labels]:
    """Return a window (size, size) of the plane (bilinear) and of the labels (nearest).

    Pixel ``p`` of the window shows the source at ``matrix @ p + offset``; beyond the source both
    are 0.
    """
    height, width = plane.shape
    seen = np.zeros((size, size), np.float32)
    found = np.zeros((size, size), np.int32)
    for i in range(size):
        for j in range(size):
            y = matrix[0, 0] * i + matrix[0, 1] * j + offset[0]
            x = matrix[1, 0] * i + matrix[1, 1] * j + offset[1]
            if y < -0.5 or x < -0.5 or y >= height - 0.5 or x >= width - 0.5:
                continue
            found[i, j] = labels[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]
            y = min(max(y, 0.0), height - 1.0)
            x = min(max(x, 0.0), width - 1.0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = np.float32(y - top), np.float32(x - left)
            upper = plane[top, left] + (plane[top, right] - plane[top, left]) * across
            lower = plane[bottom, left] + (plane[bottom, right] - plane[bottom, left]) * across
            seen[i, j] = upper + (lower - upper) * down
    return seen, found


@kernel
def boxes_of(labels: Labels, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the boxes (count, 4) and areas (count,) of labels 1 to ``count``; 0 where absent."""
    boxes = np.zeros((count, 4), np.float32)
    areas = np.zeros(count, np.float32)
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            k = labels[i, j] - 1
            if k < 0:
                continue
            if areas[k] == 0:
                boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = i, j, i + 1, j + 1
            else:
                boxes[k, 1] = min(boxes[k, 1], j)
                boxes[k, 2] = i + 1
                boxes[k, 3] = max(boxes[k, 3], j + 1)
            areas[k] += 1
    return boxes, areas
