"""Compiled loops over the pixels of cells, given as runs in a window of one channel.

In all of them ``flat`` is the window (Y, X), read row by row, ``width`` its X, and the runs of
cell ``c`` are ``first[c]:first[c + 1]`` of ``row``, ``start`` and ``stop``, in reading order. A
cell is computed at once, so its values do not depend on what else the window holds.

Indices are unsigned: for a signed one, numba tests whether it counts from the end, and the loop
over a run is then not vectorised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["float_means", "float_moments", "integer_means", "integer_moments"]

Pixels = NDArray[Any]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]


@kernel
def integer_means(
    flat: Pixels,
    width: int,
    first: Longs,
    row: Ints,
    start: Ints,
    stop: Ints,
    count: Longs,
    total: Longs,
) -> None:
    """Write number and sum of the pixels of each cell; 8 or 16 bit without sign."""
    end = np.uint64(flat.size)
    for cell in range(first.size - 1):
        pixels = np.int64(0)
        values = np.int64(0)
        for run in range(np.uint64(first[cell]), np.uint64(first[cell + 1])):
            at = np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])
            inside = np.uint64(stop[run] - start[run])
            # Runs are short. Summing whole blocks of 16, with 0 for what is behind the run, is
            # faster than a loop of a different length for each.
            blocks = (inside + np.uint64(15)) // np.uint64(16) * np.uint64(16)
            length = np.uint32(inside)
            part = np.uint64(0)
            for i in range(np.uint32(min(blocks, end - at))):
                value = np.uint32(flat[at + np.uint64(i)])
                part += value if np.uint32(i) < length else np.uint32(0)
            pixels += np.int64(inside)
            values += np.int64(part)
        count[cell] = pixels
        total[cell] = values


@kernel
def float_means(
    flat: Pixels,
    width: int,
    first: Longs,
    row: Ints,
    start: Ints,
    stop: Ints,
    count: Longs,
    total: Floats,
) -> None:
    """Write number and sum of the finite pixels of each cell."""
    for cell in range(first.size - 1):
        pixels = 0
        values = 0.0
        for run in range(first[cell], first[cell + 1]):
            at = np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])
            part = 0.0
            for i in range(at, at + np.uint64(stop[run] - start[run])):
                value = np.float64(flat[i])
                if np.isfinite(value):
                    part += value
                    pixels += 1
            values += part
        count[cell] = pixels
        total[cell] = values


@kernel
def integer_moments(
    flat: Pixels,
    width: int,
    first: Longs,
    row: Ints,
    start: Ints,
    stop: Ints,
    count: Longs,
    total: Longs,
    squares: Floats,
    lowest: Floats,
    highest: Floats,
) -> None:
    """Write number, sum, sum of squared deviations from the mean, minimum and maximum.

    8 or 16 bit without sign. The sums of values and of squares are exact.
    """
    for cell in range(first.size - 1):
        count[cell] = 0
        total[cell] = 0
        if first[cell] == first[cell + 1]:
            continue
        pixels = np.int64(0)
        values = np.int64(0)
        squared = np.int64(0)
        run = first[cell]
        low = flat[np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])]
        high = low
        for run in range(np.uint64(first[cell]), np.uint64(first[cell + 1])):
            at = np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])
            inside = np.uint64(stop[run] - start[run])
            part = np.uint64(0)
            part_squared = np.uint64(0)
            for i in range(at, at + inside):
                value = flat[i]
                wide = np.uint32(value)
                part += wide
                part_squared += np.uint32(wide * wide)
                low = min(low, value)
                high = max(high, value)
            pixels += np.int64(inside)
            values += np.int64(part)
            squared += np.int64(part_squared)
        # About a whole number near the mean nothing cancels.
        pivot = values // pixels
        rest = values - pixels * pivot
        about = squared - 2 * pivot * values + pixels * pivot * pivot
        count[cell] = pixels
        total[cell] = values
        squares[cell] = about - rest * (rest / pixels)
        lowest[cell] = low
        highest[cell] = high


@kernel
def float_moments(
    flat: Pixels,
    width: int,
    first: Longs,
    row: Ints,
    start: Ints,
    stop: Ints,
    count: Longs,
    total: Floats,
    squares: Floats,
    lowest: Floats,
    highest: Floats,
) -> None:
    """Write number, sum, sum of squared deviations from the mean, minimum and maximum.

    Of the finite pixels. Deviations are summed in a second pass, with the correction for the
    rounding of the mean (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample
    variance", the American Statistician 37).
    """
    for cell in range(first.size - 1):
        pixels = 0
        values = 0.0
        low = np.inf
        high = -np.inf
        for run in range(first[cell], first[cell + 1]):
            at = np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])
            part = 0.0
            for i in range(at, at + np.uint64(stop[run] - start[run])):
                value = np.float64(flat[i])
                if np.isfinite(value):
                    part += value
                    pixels += 1
                    low = min(low, value)
                    high = max(high, value)
            values += part
        mean = values / pixels
        deviations = 0.0
        squared = 0.0
        for run in range(first[cell], first[cell + 1]):
            at = np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])
            part = 0.0
            part_squared = 0.0
            for i in range(at, at + np.uint64(stop[run] - start[run])):
                value = np.float64(flat[i])
                if np.isfinite(value):
                    away = value - mean
                    part += away
                    part_squared += away * away
            deviations += part
            squared += part_squared
        count[cell] = pixels
        total[cell] = values
        squares[cell] = max(0.0, squared - deviations * (deviations / pixels))
        lowest[cell] = low
        highest[cell] = high
