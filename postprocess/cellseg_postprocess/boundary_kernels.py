"""The compiled loops that measure light beside borders between cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["add_light", "find_rims"]


@kernel
def find_rims(
    labels: NDArray[np.int32],
    start: int,
    stop: int,
    width: int,
    starts: NDArray[np.int64],
    second: NDArray[np.int32],
    pixels: NDArray[np.int32],
    rims: NDArray[np.int32],
    parts: NDArray[np.float32],
) -> int:
    """List the pixels beside borders between cells, and return how many entries there are.

    A pixel looks along its row and column to the nearest pixels outside its cell, at most
    ``width`` px away. It belongs to the rim towards the cell that it meets first; in equal parts
    to several rims where it meets several at the same distance, background among them.

    Parameters
    ----------
    labels
        (Y, X): rows ``start`` to ``stop`` and ``width`` more on each side where there are such.
    width
        In px.
    starts, second
        Sorted pairs of touching cells: those whose smaller id is ``i`` have the numbers
        ``starts[i]`` to ``starts[i + 1]``, and their larger ids are in ``second``.
    pixels, rims, parts
        Written, with room for four entries for each pixel: the pixel's index in the rows from
        ``start`` on; the rim: the number of the pair for its first cell, and that plus the number
        of pairs for its second; and which part of the pixel belongs to it.
    """
    height, columns = labels.shape
    pairs = second.size
    met = np.empty(4, np.int32)
    away = np.empty(4, np.int64)
    found = 0
    for y in range(start, stop):
        for x in range(columns):
            cell = labels[y, x]
            if cell == 0:
                continue
            nearest = width
            for way in range(4):
                down = (way == 0) - (way == 1)
                right = (way == 2) - (way == 3)
                away[way] = width + 1
                # Further away than what another way has met is of no interest.
                for step in range(1, nearest + 1):
                    v, u = y + down * step, x + right * step
                    if v < 0 or v >= height or u < 0 or u >= columns:
                        break
                    if labels[v, u] != cell:
                        met[way] = labels[v, u]
                        away[way] = step
                        nearest = step
                        break
            equal = 0
            for way in range(4):
                equal += away[way] == nearest
            for way in range(4):
                if away[way] != nearest or met[way] == 0:
                    continue
                smaller, larger = min(cell, met[way]), max(cell, met[way])
                begin = starts[smaller]
                pair = begin + np.searchsorted(second[begin : starts[smaller + 1]], larger)
                pixels[found] = (y - start) * columns + x
                rims[found] = pair if cell < larger else pair + pairs
                parts[found] = 1 / equal
                found += 1
    return found


@kernel
def add_light(
    values: NDArray[np.float64],
    pixels: NDArray[np.int32],
    rims: NDArray[np.int32],
    parts: NDArray[np.float32],
    light: NDArray[np.float64],
) -> None:
    """Add the values of listed pixels to the light of their rims; NaN and infinity are left out."""
    for entry in range(pixels.size):
        value = values[pixels[entry]]
        if np.isfinite(value):
            light[rims[entry]] += parts[entry] * value
