"""The compiled loops that compare the outlines of two label images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["count_near", "outlines"]


@kernel
def outlines(labels: NDArray[np.signedinteger[Any]]) -> NDArray[np.bool_]:
    """Return which pixels of objects have a 4-neighbour of another value: (Y, X) bool.

    The edge of the array is no other value.
    """
    height, width = labels.shape
    found = np.zeros((height, width), np.bool_)
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            here = labels[y, x]
            found[y, x] = here != 0 and (
                here != labels[y, max(x - 1, 0)]
                or here != labels[y, min(x + 1, width - 1)]
                or here != labels[above, x]
                or here != labels[below, x]
            )
    return found


@kernel
def count_near(
    one: NDArray[np.bool_],
    other: NDArray[np.bool_],
    start: int,
    stop: int,
    offsets: NDArray[np.int64],
) -> tuple[int, int]:
    """Return how many pixels ``one`` has in the rows ``start`` to ``stop``, and how many near.

    Near are those with a pixel of ``other`` at one of the ``offsets``, (N, 2) rows and columns,
    which are tried in their order. All arrays are as large as one another.
    """
    height, width = one.shape
    pixels, near = 0, 0
    for y in range(start, stop):
        for x in range(width):
            if not one[y, x]:
                continue
            pixels += 1
            for index in range(offsets.shape[0]):
                row, column = y + offsets[index, 0], x + offsets[index, 1]
                if 0 <= row < height and 0 <= column < width and other[row, column]:
                    near += 1
                    break
    return pixels, near
