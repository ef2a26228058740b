"""Compiled loops over the runs of objects, for their shape.

The runs of object ``c`` are ``first[c]:first[c + 1]`` of ``row``, ``start`` and ``stop``, in
reading order; ``boxes`` (n, 4) are ``y0, x0, y1, x1`` of the window, ends exclusive, all 0 for an
object without pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["bound", "count_borders", "count_hulls", "second_moments"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@kernel
def bound(first: Longs, row: Ints, start: Ints, stop: Ints, boxes: Longs) -> None:
    """Write the bounding box of each object that has pixels."""
    for c in range(first.size - 1):
        if first[c] < first[c + 1]:
            left = start[first[c]]
            right = stop[first[c]]
            for run in range(first[c], first[c + 1]):
                left = min(left, start[run])
                right = max(right, stop[run])
            boxes[c, 0] = row[first[c]]
            boxes[c, 1] = left
            boxes[c, 2] = row[first[c + 1] - 1] + 1
            boxes[c, 3] = right


@kernel
def second_moments(
    first: Longs, row: Ints, start: Ints, stop: Ints, boxes: Longs, sums: NDArray[np.float64]
) -> None:
    """Write ``sums`` (n, 6): those of 1, y, x, y*y, x*x, y*x about the middle of the box."""
    for c in range(first.size - 1):
        middle_y = (boxes[c, 0] + boxes[c, 2]) // 2
        middle_x = (boxes[c, 1] + boxes[c, 3]) // 2
        size = 0
        of_y = 0
        of_x = 0
        of_yy = 0
        of_xx = 0
        of_yx = 0
        for run in range(first[c], first[c + 1]):
            y = row[run] - middle_y
            a = start[run] - middle_x
            b = stop[run] - middle_x
            length = b - a
            # Sums of x and of x * x over a <= x < b, which are whole numbers.
            in_x = (a + b - 1) * length // 2
            in_xx = ((b - 1) * b * (2 * b - 1) - (a - 1) * a * (2 * a - 1)) // 6
            size += length
            of_y += y * length
            of_x += in_x
            of_yy += y * y * length
            of_xx += in_xx
            of_yx += y * in_x
        sums[c, 0] = size
        sums[c, 1] = of_y
        sums[c, 2] = of_x
        sums[c, 3] = of_yy
        sums[c, 4] = of_xx
        sums[c, 5] = of_yx


@kernel
def count_borders(
    first: Longs,
    row: Ints,
    start: Ints,
    stop: Ints,
    boxes: Longs,
    plane: NDArray[np.uint8],
    kinds: Longs,
) -> None:
    """Write how many border pixels continue straight, by diagonals, and with one of each (n, 3).

    ``plane`` is room for the largest box with a margin of one pixel on all sides.
    """
    for c in range(first.size - 1):
        top = boxes[c, 0] - 1
        left = boxes[c, 1] - 1
        width = boxes[c, 3] - left + 1
        plane[: (boxes[c, 2] - top + 1) * width] = 0
        for run in range(first[c], first[c + 1]):
            at = (row[run] - top) * width - left
            plane[at + start[run] : at + stop[run]] = 1
        for run in range(first[c], first[c + 1]):
            at = (row[run] - top) * width - left
            for i in range(at + start[run], at + stop[run]):
                if not (plane[i - width] and plane[i + width] and plane[i - 1] and plane[i + 1]):
                    plane[i] = 2
        straight = 0
        diagonal = 0
        mixed = 0
        for run in range(first[c], first[c + 1]):
            at = (row[run] - top) * width - left
            for i in range(at + start[run], at + stop[run]):
                if plane[i] != 2:
                    continue
                beside = (
                    (plane[i - width] == 2)
                    + (plane[i + width] == 2)
                    + (plane[i - 1] == 2)
                    + (plane[i + 1] == 2)
                )
                across = (
                    (plane[i - width - 1] == 2)
                    + (plane[i - width + 1] == 2)
                    + (plane[i + width - 1] == 2)
                    + (plane[i + width + 1] == 2)
                )
                # The table of weights of the estimator; any other neighbourhood counts nothing.
                if 2 <= beside <= 3 and across <= 2:
                    straight += 1
                elif (across == 2 and beside == 0) or (across == 3 and beside == 1):
                    diagonal += 1
                elif beside == 1 and 1 <= across <= 2:
                    mixed += 1
        kinds[c, 0] = straight
        kinds[c, 1] = diagonal
        kinds[c, 2] = mixed


@kernel
def _outer_chain(side: Longs, at: Longs) -> int:
    """Write the rows of the convex chain left of all points ``(row, side[row])``; return how many.

    Rows whose value is the largest number have no point.
    """
    none = np.iinfo(np.int64).max
    size = 0
    for t in range(side.size):
        if side[t] == none:
            continue
        while size > 1:
            a = at[size - 2]
            b = at[size - 1]
            if (side[b] - side[a]) * (t - a) < (side[t] - side[a]) * (b - a):
                break
            size -= 1
        at[size] = t
        size += 1
    return size


@kernel
def count_hulls(
    first: Longs, row: Ints, start: Ints, stop: Ints, boxes: Longs, counts: Longs
) -> None:
    """Write how many pixel centres lie inside or on the convex hull of each object.

    The hull is that of the middles of all pixel edges. Positions are doubled, which makes them
    whole numbers.
    """
    none = np.iinfo(np.int64).max
    for c in range(first.size - 1):
        counts[c] = 0
        if first[c] == first[c + 1]:
            continue
        height = boxes[c, 2] - boxes[c, 0]
        # Row t of these is at t - 1 half pixels below the first row's centre; right is negated.
        left = np.full(2 * height + 1, none, np.int64)
        right = np.full(2 * height + 1, none, np.int64)
        for run in range(first[c], first[c + 1]):
            t = 2 * (row[run] - boxes[c, 0]) + 1
            a = 2 * (start[run] - boxes[c, 1])
            b = -2 * (stop[run] - 1 - boxes[c, 1])
            left[t - 1] = min(left[t - 1], a)
            left[t] = min(left[t], a - 1)
            left[t + 1] = min(left[t + 1], a)
            right[t - 1] = min(right[t - 1], b)
            right[t] = min(right[t], b - 1)
            right[t + 1] = min(right[t + 1], b)
        left_at = np.empty(left.size, np.int64)
        right_at = np.empty(left.size, np.int64)
        _outer_chain(left, left_at)
        _outer_chain(right, right_at)
        i = 0
        j = 0
        inside = 0
        for t in range(1, left.size, 2):
            while left_at[i + 1] < t:
                i += 1
            while right_at[j + 1] < t:
                j += 1
            a = left_at[i]
            span = left_at[i + 1] - a
            # The first pixel that is not left of the chain: rounded up; and so from the right.
            from_left = -(
                -(left[a] * span + (left[left_at[i + 1]] - left[a]) * (t - a)) // (2 * span)
            )
            a = right_at[j]
            span = right_at[j + 1] - a
            from_right = -(
                -(right[a] * span + (right[right_at[j + 1]] - right[a]) * (t - a)) // (2 * span)
            )
            # At least 1: between its first and its last row a hull is nowhere narrower than 1 px.
            inside += 1 - from_right - from_left
        counts[c] = inside
