"""Anchors: the boxes at fixed places and sizes from which proposals are measured.

Square boxes of 8 to 102 px, three to each doubling, on levels of stride 4 to 32. Three sizes in a
doubling put every square box at an IoU of 0.79 or more with some size; at the native diameter most
nuclei are elongated by less than 2:1 and so at 0.5 or more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_backends.maskrcnn.presets import STRIDES

__all__ = ["ANCHOR_STRIDES", "PER_PLACE", "SIZES", "anchors"]

ANCHOR_STRIDES = STRIDES[1:]
PER_PLACE = 3
SIZES = tuple(
    tuple(2.0 * stride * 2.0 ** (step / PER_PLACE) for step in range(PER_PLACE))
    for stride in ANCHOR_STRIDES
)


def anchors(height: int, width: int) -> NDArray[np.float32]:
    """Return the anchors (N, 4) of an image of that size as (y0, x0, y1, x1) in px.

    They come level by level, row by row, column by column, and small before large at each place:
    the order of the outputs of :mod:`~cellseg_backends.maskrcnn.proposals`. The size must be a
    multiple of the largest stride.

    >>> anchors(64, 32).shape, anchors(32, 32)[0].tolist()
    ((510, 4), [-2.0, -2.0, 6.0, 6.0])
    """
    levels = []
    for stride, sizes in zip(ANCHOR_STRIDES, SIZES, strict=True):
        rows = (np.arange(height // stride, dtype=np.float32) + 0.5) * stride
        columns = (np.arange(width // stride, dtype=np.float32) + 0.5) * stride
        half = np.asarray(sizes, np.float32) / 2
        y, x, r = np.meshgrid(rows, columns, half, indexing="ij")
        levels.append(np.stack([y - r, x - r, y + r, x + r], axis=-1).reshape(-1, 4))
    return np.concatenate(levels)
