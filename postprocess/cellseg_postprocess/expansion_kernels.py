"""Compiled loops that grow label images in place, a few rows at a time.

They take a contiguous int32 label image (Y, X) without negative values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel
from cellseg_core.protocols import Labels

__all__ = ["grow_by_steps", "grow_to_nearest"]

_BAND = 64
_MOST_IN_BAND = 2**22


@kernel
def grow_by_steps(labels: Labels, steps: int) -> None:
    """Grow all masks 1 px at a time, ``steps`` times or until nothing is left to take.

    A row can only change when it or a row beside it changed in the step before. Needs three rows.
    """
    height, width = labels.shape
    above = np.zeros(width + 2, np.int32)
    here = np.zeros(width + 2, np.int32)
    below = np.zeros(width + 2, np.int32)
    changed = np.ones(height + 2, np.bool_)
    for _ in range(steps):
        changed_before = changed
        changed = np.zeros(height + 2, np.bool_)
        loaded = -1
        for y in range(height):
            if not (changed_before[y] or changed_before[y + 1] or changed_before[y + 2]):
                continue
            # The rows as they were before this step: the one above may have changed by now.
            if loaded == y:
                above, here, below = here, below, above
            else:
                _load(labels, y - 1, above)
                _load(labels, y, here)
            _load(labels, y + 1, below)
            loaded = y + 1
            for x in range(1, width + 1):
                if here[x] != 0 or (above[x] | here[x - 1] | here[x + 1] | below[x]) == 0:
                    continue
                labels[y, x - 1] = _majority(above, here, below, x)
                changed[y + 1] = True
        if not changed.any():
            break


@kernel
def _load(labels: Labels, y: int, row: Labels) -> None:
    """Copy a row of the image into the middle of ``row``; outside the image there is background."""
    if 0 <= y < labels.shape[0]:
        row[1:-1] = labels[y]
    else:
        row[:] = 0


@kernel
def _majority(above: Labels, here: Labels, below: Labels, x: int) -> int:
    """Return the label of a 4-neighbour that has the most of the 8 neighbours.

    Of equal ones the one above, else left, else right, else below.
    """
    best = 0
    most = 0
    for label in (above[x], here[x - 1], here[x + 1], below[x]):
        if label == 0 or label == best:
            continue
        count = 0
        for row in (above, here, below):
            for column in range(x - 1, x + 2):
                if row[column] == label:
                    count += 1
        if count > most:
            best = label
            most = count
    return best


@kernel
def grow_to_nearest(labels: Labels, rows: int, square: int) -> None:
    """Give each background pixel to the nearest mask pixel, by the Euclidean distance.

    ``square`` is the square of the largest distance and ``rows`` the largest whole px in it. Of
    equally near pixels the one furthest left counts, then the one furthest up.

    Column by column the nearest mask pixel above or below is found, for a band of rows at a time;
    along a row the nearest of those follows from the lower envelope of their parabolas (Maurer,
    Qi and Raghavan 2003).
    """
    height, width = labels.shape
    band = min(height, max(_BAND, min(rows, _MOST_IN_BAND // width)))
    nearest = np.empty((band, width), np.int32)
    above = np.full(width, -1, np.int32)
    below = np.empty(width, np.int32)
    columns = np.empty(width, np.int64)
    heights = np.empty(width, np.int64)
    for top in range(0, height, band):
        bottom = min(top + band, height)
        below[:] = -1
        for y in range(min(bottom + rows, height) - 1, bottom - 1, -1):
            for x in range(width):
                if labels[y, x] != 0:
                    below[x] = y
        for y in range(bottom - 1, top - 1, -1):
            for x in range(width):
                if labels[y, x] != 0:
                    below[x] = y
                nearest[y - top, x] = below[x]
        for y in range(top, bottom):
            for x in range(width):
                if labels[y, x] != 0:
                    above[x] = y
                up, down = above[x], nearest[y - top, x]
                if up >= 0 and (down < 0 or y - up <= down - y):
                    nearest[y - top, x] = up
        # Rows below this band have not been touched, and those above are not read again but for
        # the mask pixels that `above` points to.
        for y in range(top, bottom):
            _fill_row(labels, y, nearest[y - top], rows, square, columns, heights)


@kernel
def _fill_row(
    labels: Labels,
    y: int,
    nearest: Labels,
    rows: int,
    square: int,
    columns: NDArray[np.int64],
    heights: NDArray[np.int64],
) -> None:
    """Fill the background of one row from the nearest mask pixel of each column.

    ``columns`` and ``heights`` are work space: the columns on the envelope and the squares of the
    vertical distances there.
    """
    width = nearest.size
    count = 0
    for x in range(width):
        gap = abs(nearest[x] - y)
        if nearest[x] < 0 or gap > rows:
            continue
        if gap == 0 and 0 < x < width - 1 and nearest[x - 1] == y and nearest[x + 1] == y:
            # Inside a mask: its ends are nearer to whatever is background in this row.
            continue
        high = np.int64(gap) * gap
        # The last column leaves the envelope when its neighbours are nearer everywhere.
        while count > 1:
            a = columns[count - 1] - columns[count - 2]
            b = x - columns[count - 1]
            hidden = (a + b) * (heights[count - 1] - a * b) - b * heights[count - 2] - a * high
            if hidden <= 0:
                break
            count -= 1
        columns[count] = x
        heights[count] = high
        count += 1
    if count == 0:
        return
    at = 0
    for x in range(width):
        if nearest[x] == y:
            continue
        away = heights[at] + (x - columns[at]) ** 2
        while at + 1 < count:
            further = heights[at + 1] + (x - columns[at + 1]) ** 2
            if away <= further:
                break
            away = further
            at += 1
        if away <= square:
            labels[y, x] = labels[nearest[columns[at]], columns[at]]
