"""The compiled loop that counts the pixels that objects of two label images share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["count_rows", "empty_table"]

_FIRST_SIZE = 1 << 12


def empty_table() -> NDArray[np.int64]:
    """Return a hash table of pairs that holds nothing yet, as :func:`count_rows` takes it."""
    return np.zeros((_FIRST_SIZE, 5), np.int64)


@kernel
def _slot(table: NDArray[np.int64], true: np.int64, pred: np.int64) -> np.int64:
    """Return where a pair is in the table, or where it would go.

    The size of the table is a power of 2, and a part of it is always free.
    """
    mask = table.shape[0] - 1
    # Multiplied by 2**64 over the golden ratio, ids that follow each other spread out.
    mixed = (true * -7046029254386353131) ^ (true >> 31)
    place: np.int64 = (((mixed + pred) * -7046029254386353131) >> 20) & mask
    while table[place, 2] and (table[place, 0] != true or table[place, 1] != pred):
        place = (place + 1) & mask
    return place


@kernel
def count_rows(
    truth: NDArray[np.signedinteger[Any]],
    pred: NDArray[np.signedinteger[Any]],
    first_row: int,
    table: NDArray[np.int64],
    used: int,
) -> tuple[NDArray[np.int64], int]:
    """Add a band of rows of two label images to the table of pairs, and return the table.

    A pixel counts for the pair of the two ids that it has, of which one may be 0; where both are,
    it is not counted. Pixels of a row with the same pair are added at once. The table grows before
    it is half full.

    Parameters
    ----------
    truth, pred
        (Y, X) of one integer type, 0 or more.
    first_row
        Number of the band's first row in the image.
    table
        (a power of 2, 5) int64: true id, predicted id, pixels, sum of their rows, sum of their
        columns. A place without pixels is free. Changed in place until it grows.
    used
        How many pairs it holds.
    """
    height, width = truth.shape
    for y in range(height):
        if 2 * (used + width) > table.shape[0]:
            size = table.shape[0]
            while 4 * (used + width) > size:
                size *= 2
            larger = np.zeros((size, 5), np.int64)
            for old in range(table.shape[0]):
                if table[old, 2]:
                    larger[_slot(larger, table[old, 0], table[old, 1])] = table[old]
            table = larger
        start = 0
        while start < width:
            one, other = truth[y, start], pred[y, start]
            stop = start + 1
            while stop < width and truth[y, stop] == one and pred[y, stop] == other:
                stop += 1
            if one or other:
                place = _slot(table, np.int64(one), np.int64(other))
                if not table[place, 2]:
                    table[place, 0] = one
                    table[place, 1] = other
                    used += 1
                pixels = stop - start
                table[place, 2] += pixels
                table[place, 3] += pixels * (first_row + y)
                table[place, 4] += pixels * (start + stop - 1) // 2
            start = stop
    return table, used
