"""Watershed basins without a queue: each pixel climbs to a peak, and low peaks join higher ones.

The result at a pixel depends on its surroundings alone, so it is the same in every tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellseg_core.protocols import Labels

__all__ = ["label_peaks"]

_ROUNDS = 3


def label_peaks(landscape: NDArray[np.float32], mask: NDArray[np.bool_], split: float) -> Labels:
    """Return the peak that each pixel of ``mask`` climbs to, after low peaks joined higher ones.

    Of two equal heights the one later in raster order counts as higher. That order is the same
    in every tile, and leaves no plateaus.
    """
    top = _climb(landscape, mask).ravel()
    pixels = np.flatnonzero(mask)
    peaks = pixels[top[pixels] == pixels]
    number = np.full(mask.size, -1, np.int32)
    number[peaks] = np.arange(len(peaks), dtype=np.int32)
    number[pixels] = number[top[pixels]]
    basins = number.reshape(mask.shape)
    joined = _join(*_passes(landscape, basins), landscape.ravel()[peaks], split)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = joined[basins[mask]] + 1
    return labels


def _climb(landscape: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return for each pixel of ``mask`` the flat index of the peak of its steepest way up."""
    rows, columns = mask.shape
    padded = np.full((rows + 2, columns + 2), -np.inf, np.float32)
    padded[1:-1, 1:-1] = np.where(mask, landscape, np.float32(-np.inf))
    best = padded[1:-1, 1:-1].copy()
    target = np.arange(mask.size, dtype=np.int32).reshape(mask.shape)
    here = target.copy()
    for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        other = padded[1 + dy : rows + 1 + dy, 1 + dx : columns + 1 + dx]
        higher = (other >= best) & mask if (dy, dx) > (0, 0) else other > best
        np.copyto(best, other, where=higher)
        np.copyto(target, here + np.int32(dy * columns + dx), where=higher)
    _follow(target.ravel(), np.flatnonzero(mask))
    return target


def _follow(target: NDArray[np.int32], start: NDArray[Any]) -> None:
    """Send each of ``start`` to the end of its chain of targets, in place."""
    while True:
        further = target[target[start]]
        if np.array_equal(further, target[start]):
            return
        target[start] = further


def _passes(
    landscape: NDArray[np.float32], basins: Labels
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return the two basins and the height of each pair of touching pixels (8-connected)."""
    first, second, height = [], [], []
    rows, columns = basins.shape
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        a = (slice(0, rows - dy), slice(max(0, -dx), columns - max(0, dx)))
        b = (slice(dy, rows), slice(max(0, dx), columns - max(0, -dx)))
        meet = (basins[a] != basins[b]) & (basins[a] >= 0) & (basins[b] >= 0)
        first.append(basins[a][meet])
        second.append(basins[b][meet])
        height.append(np.minimum(landscape[a][meet], landscape[b][meet]))
    return np.concatenate(first), np.concatenate(second), np.concatenate(height)


def _join(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    height: NDArray[np.float32],
    peak: NDArray[np.float32],
    split: float,
) -> NDArray[np.int32]:
    """Return for each basin the one that it ends in.

    A basin joins the higher neighbour with the highest pass, when that pass is not deep. A few
    rounds, no more: each one lets a decision reach one basin further.
    """
    ends = np.arange(len(peak), dtype=np.int32)
    for _ in range(_ROUNDS):
        a, b = ends[first], ends[second]
        apart = a != b
        a, b, way = a[apart], b[apart], height[apart]
        a_higher = (peak[a] > peak[b]) | ((peak[a] == peak[b]) & (a > b))
        low, high = np.where(a_higher, b, a), np.where(a_higher, a, b)
        order = np.lexsort((high, peak[high], way, low))
        low, high, way = low[order], high[order], way[order]
        best = np.append(low[1:] != low[:-1], True)[: len(low)]
        shallow = best & (peak[low] - way < np.float32(split) * peak[low])
        if not shallow.any():
            break
        target = np.arange(len(peak), dtype=np.int32)
        target[low[shallow]] = high[shallow]
        _follow(target, low[shallow])
        ends = target[ends]
    return ends
