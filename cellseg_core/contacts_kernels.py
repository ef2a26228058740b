"""The compiled loop that counts contacts between cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["count_band"]

_EMPTY = -1
_FIRST_SIZE = 1 << 12


@kernel
def _slot(keys: NDArray[np.int64], key: np.int64) -> np.int64:
    """Return where a key is in the table, or where it would go.

    The size of the table is a power of 2, and a part of it is always free.
    """
    mask = keys.size - 1
    # Multiplied by 2**64 over the golden ratio, keys that follow each other spread out.
    place = ((key * -7046029254386353131) >> 20) & mask
    while keys[place] != _EMPTY and keys[place] != key:
        place = (place + 1) & mask
    return place


@kernel
def count_band(
    labels: NDArray[np.int32], start: int, stop: int, cells: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of the rows ``start`` to ``stop``; return pairs that touch and how much.

    Each row is compared with the row above and below it where there is one. A pair of touching
    ids has the key ``smaller << 32 | larger``, and is counted where its left or upper pixel lies
    in these rows. Keys come in any order, each once.

    Parameters
    ----------
    labels
        (Y, X) int32, ids below ``len(cells)``.
    start, stop
        The rows to count.
    cells
        (ids, 2) int64, changed in place: pixels and border pixels.
    """
    height, width = labels.shape
    # A hash table, which grows before it is half full.
    keys, counts = np.full(_FIRST_SIZE, _EMPTY, np.int64), np.zeros(_FIRST_SIZE, np.int64)
    used = 0
    for y in range(start, stop):
        if 2 * (used + 2 * width) > keys.size:
            size = keys.size
            while 4 * (used + 2 * width) > size:
                size *= 2
            more_keys = np.full(size, _EMPTY, np.int64)
            more_counts = np.zeros(size, np.int64)
            for old in range(keys.size):
                if keys[old] != _EMPTY:
                    place = _slot(more_keys, keys[old])
                    more_keys[place] = keys[old]
                    more_counts[place] = counts[old]
            keys, counts = more_keys, more_counts
        above = labels[max(y - 1, 0)]
        here = labels[y]
        below = labels[min(y + 1, height - 1)]
        first = 0
        for x in range(width):
            one = here[x]
            left = here[max(x - 1, 0)]
            right = here[min(x + 1, width - 1)]
            if one != right or x == width - 1:
                # A run of one id ends: its pixels are counted at once.
                cells[one, 0] += x + 1 - first
                first = x + 1
            if one == 0 or (one == right and one == below[x] and one == left and one == above[x]):
                continue
            cells[one, 1] += 1
            for ahead in range(2):
                other = below[x] if ahead else right
                if other and other != one:
                    key = (np.int64(min(one, other)) << 32) | np.int64(max(one, other))
                    place = _slot(keys, key)
                    if keys[place] == _EMPTY:
                        keys[place] = key
                        used += 1
                    counts[place] += 1
    there = keys != _EMPTY
    return keys[there], counts[there]
