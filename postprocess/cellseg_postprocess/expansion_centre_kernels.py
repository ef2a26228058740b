"""Compiled loops that give background pixels to the nearest centre of the nuclei that reach them.

They take a contiguous int32 label image (Y, X) and change it in place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel
from cellseg_core.protocols import Labels

__all__ = ["grow_to_centres", "number_nuclei", "restore_ids"]

_BLOCK = 128


@kernel
def number_nuclei(
    labels: Labels,
    ids: Labels,
    areas: NDArray[np.int64],
    first: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Replace each id by its place in ``ids`` (ascending, 0 first) and survey the nuclei.

    For each place: ``areas`` (N,) in px, ``first`` (N, 2) the row and column of the first pixel
    in reading order, ``sums`` (N, 2) the rows and columns of all pixels, counted from the first
    and added up. ``areas`` and ``sums`` come in as 0.
    """
    height, width = labels.shape
    for y in range(height):
        x = 0
        while x < width:
            label = labels[y, x]
            if label == 0:
                x += 1
                continue
            low, high = 0, ids.size - 1
            while low < high:
                middle = (low + high) // 2
                if ids[middle] < label:
                    low = middle + 1
                else:
                    high = middle
            start = x
            while x < width and labels[y, x] == label:
                labels[y, x] = low
                x += 1
            if areas[low] == 0:
                first[low, 0] = y
                first[low, 1] = start
            length = x - start
            areas[low] += length
            sums[low, 0] += length * (y - first[low, 0])
            sums[low, 1] += length * (start - first[low, 1]) + length * (length - 1) // 2


@kernel
def restore_ids(labels: Labels, ids: Labels) -> None:
    """Replace each place in ``ids``, whatever its sign, by the id."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            if labels[y, x] != 0:
                labels[y, x] = ids[abs(labels[y, x])]


@kernel
def grow_to_centres(
    labels: Labels,
    areas: NDArray[np.int64],
    first: NDArray[np.int64],
    sums: NDArray[np.int64],
    distance: int,
) -> None:
    """Give each background pixel to the nearest centre of the nuclei at most ``distance`` away.

    ``labels`` and the tables come from :func:`number_nuclei`. Pixels that were background hold
    the negative number of their owner afterwards.

    The image is searched in blocks, so that the work is bounded for nuclei that are large, or in
    pieces far apart: every piece of a nucleus in a block claims what it reaches, for the centre of
    the whole nucleus, and the better of two claims stays, in whatever order they come.
    """
    height, width = labels.shape
    met_in = np.full(areas.size, -1, np.int64)
    piece_of = np.zeros(areas.size, np.int64)
    pieces = np.zeros((_BLOCK * _BLOCK, 5), np.int64)
    reach = min(height, _BLOCK + 2 * distance), min(width, _BLOCK + 2 * distance)
    away = np.zeros(reach[0] * reach[1], np.int32)
    block = 0
    for top in range(0, height, _BLOCK):
        for left in range(0, width, _BLOCK):
            for piece in range(_find_pieces(labels, top, left, block, met_in, piece_of, pieces)):
                number = pieces[piece, 0]
                y0 = max(pieces[piece, 1] - distance, 0)
                y1 = min(pieces[piece, 2] + distance + 1, height)
                x0 = max(pieces[piece, 3] - distance, 0)
                x1 = min(pieces[piece, 4] + distance + 1, width)
                _count_steps(labels[y0:y1, x0:x1], number, distance + 1, away)
                _claim(labels, y0, y1, x0, x1, number, away, distance, areas, first, sums)
            block += 1


@kernel
def _find_pieces(
    labels: Labels,
    top: int,
    left: int,
    block: int,
    met_in: NDArray[np.int64],
    piece_of: NDArray[np.int64],
    pieces: NDArray[np.int64],
) -> int:
    """Return how many nuclei have pixels in a block, and fill a row of ``pieces`` for each.

    A row holds the nucleus' number, its first and last row and its first and last column in the
    block. ``met_in`` holds for each nucleus the block in which it was last met, and ``piece_of``
    its row of ``pieces`` there.
    """
    height, width = labels.shape
    count = 0
    for y in range(top, min(top + _BLOCK, height)):
        for x in range(left, min(left + _BLOCK, width)):
            number = labels[y, x]
            if number <= 0:
                continue
            if met_in[number] != block:
                met_in[number] = block
                piece_of[number] = count
                pieces[count, 0] = number
                pieces[count, 1] = y
                pieces[count, 3:] = x
                count += 1
            piece = piece_of[number]
            pieces[piece, 2] = y
            pieces[piece, 3] = min(pieces[piece, 3], x)
            pieces[piece, 4] = max(pieces[piece, 4], x)
    return count


@kernel
def _count_steps(window: Labels, number: int, most: int, away: Labels) -> None:
    """Fill ``away``, row by row, with the 4-neighbour steps to the nucleus, ``most`` at most.

    Two sweeps, down and up (Rosenfeld and Pfaltz 1966).
    """
    height, width = window.shape
    for y in range(height):
        for x in range(width):
            at = y * width + x
            steps = most
            if window[y, x] == number:
                steps = 0
            else:
                if y > 0:
                    steps = min(steps, away[at - width] + 1)
                if x > 0:
                    steps = min(steps, away[at - 1] + 1)
            away[at] = steps
    for y in range(height - 1, -1, -1):
        for x in range(width - 1, -1, -1):
            at = y * width + x
            steps = away[at]
            if y < height - 1:
                steps = min(steps, away[at + width] + 1)
            if x < width - 1:
                steps = min(steps, away[at + 1] + 1)
            away[at] = steps


@kernel
def _claim(
    labels: Labels,
    y0: int,
    y1: int,
    x0: int,
    x1: int,
    number: int,
    away: Labels,
    distance: int,
    areas: NDArray[np.int64],
    first: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Take the background pixels that a nucleus reaches, unless their owner has more right."""
    at = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            reached = away[at] <= distance
            at += 1
            if not reached or labels[y, x] > 0:
                continue
            owner = -labels[y, x]
            if owner == number:
                continue
            if owner != 0:
                mine = _to_centre(y, x, number, areas, first, sums)
                its = _to_centre(y, x, owner, areas, first, sums)
                if its < mine:
                    continue
                if its == mine and (first[owner, 0], first[owner, 1]) < (
                    first[number, 0],
                    first[number, 1],
                ):
                    continue
            labels[y, x] = -number


@kernel
def _to_centre(
    y: int,
    x: int,
    number: int,
    areas: NDArray[np.int64],
    first: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> float:
    """Return the squared distance of a pixel to the centre of a nucleus.

    It is one quotient of whole numbers, counted from the first pixel of the nucleus: the same
    wherever the image begins, and equal distances come out equal.
    """
    area = areas[number]
    down = float(area * (y - first[number, 0]) - sums[number, 0])
    right = float(area * (x - first[number, 1]) - sums[number, 1])
    return (down * down + right * right) / (float(area) * float(area))
