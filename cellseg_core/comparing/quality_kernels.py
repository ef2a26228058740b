"""The compiled loop that sums the stain in nuclei, around them, and the slope on their outlines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["sum_stain"]


@kernel
def _slope(plane: NDArray[np.float32], y: int, x: int) -> float:
    """Return the steepness of the stain: the length of its Sobel gradient, per px.

    Beyond the edge of the image the last pixels go on.
    """
    height, width = plane.shape
    up, down = max(y - 1, 0), min(y + 1, height - 1)
    left, right = max(x - 1, 0), min(x + 1, width - 1)
    # The corners count for both directions; float64 from here on.
    falling = np.float64(plane[down, right]) - plane[up, left]
    rising = np.float64(plane[up, right]) - plane[down, left]
    across = falling + rising + 2.0 * (np.float64(plane[y, right]) - plane[y, left])
    along = falling - rising + 2.0 * (np.float64(plane[down, x]) - plane[up, x])
    steepness: float = np.sqrt(across * across + along * along) / 8.0
    return steepness


@kernel
def sum_stain(
    labels: NDArray[np.int32],
    plane: NDArray[np.float32],
    offsets: NDArray[np.int64],
    threshold: float,
    sums: NDArray[np.float64],
    bright: NDArray[np.float64],
) -> None:
    """Add up the stain in and around each nucleus, in one pass.

    A pixel of the background belongs to the surroundings of the nearest nucleus that ``offsets``
    reach. A pixel is on an outline if one of its 4-neighbours has another label: in a nucleus on
    the inner side of its outline, in the background on the outer side.

    Parameters
    ----------
    labels
        (Y, X) int32, ids below ``len(sums)``.
    plane
        (Y, X) float32, 0 or more: the stain.
    offsets
        (F, 2) int64: the places around a pixel, the nearest first; the first 4 are its
        4-neighbours.
    threshold
        The foreground is brighter than this.
    sums
        (ids, 9) float64, changed in place; row 0 is the whole background. Columns: 0 pixels, and
        the sums of 1 the stain, 2 its square; of the surroundings 3 pixels, 4 stain; of the
        outline, both sides, 5 pixels, 6 slope; of what is beside it, within reach of the offsets
        and on both sides, 7 pixels, 8 slope.
    bright
        (2,) float64, changed in place: the stain of the foreground, and of that inside nuclei.
    """
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            one = labels[y, x]
            stain = np.float64(plane[y, x])
            sums[one, 0] += 1
            sums[one, 1] += stain
            sums[one, 2] += stain * stain
            if stain > threshold:
                bright[0] += stain
                if one:
                    bright[1] += stain
            for place in range(offsets.shape[0]):
                row, column = y + offsets[place, 0], x + offsets[place, 1]
                if row < 0 or row >= height or column < 0 or column >= width:
                    continue
                other = labels[row, column]
                if other == one:
                    continue
                owner = one or other
                if not one:
                    sums[owner, 3] += 1
                    sums[owner, 4] += stain
                kind = 5 if place < 4 else 7
                sums[owner, kind] += 1
                sums[owner, kind + 1] += _slope(plane, y, x)
                break
