"""Compiled loops that turn windows of a label image into runs of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["add_runs", "find_runs", "sort_runs"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@kernel
def find_runs(
    window: NDArray[np.signedinteger[Any]], row: Ints, start: Ints, stop: Ints, ids: Longs
) -> int:
    """Return the number of runs in a window; write them, row by row, if there is room for all.

    A run is a piece of one row with one id that is not 0: ``window[row, start:stop]``.
    """
    height, width = window.shape
    changed = np.empty(width, np.bool_)
    changes = np.empty(width + 1, np.int32)
    found = 0
    for y in range(height):
        changed[0] = True
        for x in range(np.uint64(1), np.uint64(width)):
            changed[x] = window[y, x] != window[y, x - np.uint64(1)]
        # A place is stored in any case and kept by moving on: most labels change every few
        # pixels, which a processor cannot foresee.
        many = np.uint64(0)
        for x in range(np.uint64(width)):
            changes[many] = x
            many += np.uint64(changed[x])
        changes[many] = width
        for i in range(many):
            value = window[y, changes[i]]
            if found < row.size:
                row[found] = y
                start[found] = changes[i]
                stop[found] = changes[i + np.uint64(1)]
                ids[found] = value
            found += value != 0
    return found


@kernel
def add_runs(
    row: Ints,
    start: Ints,
    stop: Ints,
    numbers: Ints,
    place: tuple[int, int, int],
    sums: Longs,
    boxes: Longs,
    firsts: Longs,
) -> None:
    """Add runs, row by row, to what is known of cells.

    Parameters
    ----------
    row, start, stop
        The runs, in px of a window.
    numbers
        The cell of each run.
    place
        Row and column of the window's first pixel in the image, and the image's width.
    sums
        (n, 3) of 1, y and x, of the pixels of each cell.
    boxes
        (n, 4): y0, x0, y1, x1.
    firsts
        (n,): number of the first pixel in reading order.
    """
    top, left, width = place
    for run in range(row.size):
        cell = numbers[run]
        y = np.int64(top) + row[run]
        first = np.int64(left) + start[run]
        end = np.int64(left) + stop[run]
        length = end - first
        sums[cell, 0] += length
        sums[cell, 1] += length * y
        sums[cell, 2] += (first + end - 1) * length // 2
        boxes[cell, 0] = min(boxes[cell, 0], y)
        boxes[cell, 1] = min(boxes[cell, 1], first)
        boxes[cell, 2] = max(boxes[cell, 2], y + 1)
        boxes[cell, 3] = max(boxes[cell, 3], end)
        firsts[cell] = min(firsts[cell], y * width + first)


@kernel
def sort_runs(
    row: Ints,
    start: Ints,
    stop: Ints,
    numbers: Ints,
    first: Longs,
    areas: Longs,
    to_row: Ints,
    to_start: Ints,
    to_stop: Ints,
) -> int:
    """Write the runs whose number is not negative cell by cell; return how many these are.

    Those of cell ``c`` go to ``first[c]:first[c + 1]`` in the order in which they came; ``first``
    and ``areas`` come in as zeros, one longer and as long as there are cells.
    """
    cells = first.size - 1
    for run in range(row.size):
        if numbers[run] >= 0:
            first[numbers[run] + 1] += 1
    for cell in range(cells):
        first[cell + 1] += first[cell]
    place = first.copy()
    for run in range(row.size):
        cell = numbers[run]
        if cell >= 0:
            areas[cell] += stop[run] - start[run]
            to = place[cell]
            place[cell] = to + 1
            to_row[to] = row[run]
            to_start[to] = start[run]
            to_stop[to] = stop[run]
    return int(first[cells])
