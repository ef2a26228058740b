"""Compiled selection of percentiles of the pixels of cells, given as runs in a window.

The arguments are those of :mod:`cellseg_core.intensity_kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["percentiles"]

Pixels = NDArray[Any]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

_BUCKETS = 256
_FEW = 24
"""So many values are sorted fastest by insertion."""


@kernel
def _sort_few(values: Pixels, begin: int, end: int) -> None:
    for i in range(begin + 1, end):
        value = values[i]
        j = i
        while j > begin and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@kernel
def _sort(values: Pixels, begin: int, end: int) -> None:
    if end - begin <= _FEW:
        _sort_few(values, begin, end)
        return
    for i in range(begin + 1, end):
        if values[i] != values[begin]:
            values[begin:end] = np.sort(values[begin:end])
            return


@kernel
def percentiles(
    flat: Pixels,
    width: int,
    first: Longs,
    row: Ints,
    start: Ints,
    stop: Ints,
    levels: Floats,
    values: Pixels,
    chosen: Pixels,
    bucket: NDArray[np.uint8],
    out: Floats,
) -> None:
    """Write to ``out`` (levels, cells) the quantiles of the finite pixels of each cell.

    ``levels`` are between 0 and 1, ascending. ``values``, ``chosen`` (both of the type of
    ``flat``) and ``bucket`` are room for the pixels of the largest cell. The values of a cell are
    counted in buckets of equal width, and only those buckets are sorted that hold a value asked
    for.
    """
    begin = np.empty(_BUCKETS + 1, np.int64)
    to = np.empty(_BUCKETS, np.int64)
    chosen_begin = np.empty(_BUCKETS, np.int64)
    for cell in range(first.size - 1):
        size = 0
        for run in range(first[cell], first[cell + 1]):
            at = np.uint64(row[run]) * np.uint64(width) + np.uint64(start[run])
            for i in range(at, at + np.uint64(stop[run] - start[run])):
                values[size] = flat[i]
                size += np.isfinite(flat[i])
        if size == 0:
            out[:, cell] = np.nan
            continue
        low = values[0]
        high = low
        for i in range(np.uint64(size)):
            value = values[i]
            low = min(low, value)
            high = max(high, value)
        base = np.float64(low)
        scale = (_BUCKETS - 1) / (np.float64(high) - base)
        whole = size <= _FEW or not (0 < scale < np.inf)
        if whole:
            # Few values, equal ones, or a range that a float cannot hold.
            _sort(values, 0, size)
        else:
            begin[:] = 0
            to[:] = -1
            for i in range(np.uint64(size)):
                which = np.uint8((np.float64(values[i]) - base) * scale)
                bucket[i] = which
                begin[np.uint64(which) + np.uint64(1)] += 1
            for b in range(_BUCKETS):
                begin[b + 1] += begin[b]
            room = 0
            b = 0
            for level in levels:
                rank = int((size - 1) * level)
                for need in (rank, min(rank + 1, size - 1)):
                    while begin[b] > need:
                        b -= 1
                    while begin[b + 1] <= need:
                        b += 1
                    if to[b] < 0:
                        to[b] = room
                        chosen_begin[b] = room
                        room += begin[b + 1] - begin[b]
            for i in range(np.uint64(size)):
                b = int(bucket[i])
                if to[b] >= 0:
                    chosen[to[b]] = values[i]
                    to[b] += 1
            for b in range(_BUCKETS):
                if to[b] >= 0:
                    _sort(chosen, chosen_begin[b], to[b])
        b = 0
        for number in range(levels.size):
            position = (size - 1) * levels[number]
            rank = int(position)
            after = min(rank + 1, size - 1)
            part = position - rank
            if whole:
                below = np.float64(values[rank])
                above = np.float64(values[after])
            else:
                while begin[b + 1] <= rank:
                    b += 1
                # The next bucket with values was chosen too, and lies right behind this one.
                at = chosen_begin[b] + rank - begin[b]
                below = np.float64(chosen[at])
                above = np.float64(chosen[at + after - rank])
            # As numpy does it: exact at both ends.
            if part < 0.5:
                out[number, cell] = below + (above - below) * part
            else:
                out[number, cell] = above - (above - below) * (1 - part)
