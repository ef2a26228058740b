"""Compiled loops that follow the outlines of objects along the edges of their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["trace_rings"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@kernel
def _with_room(values: Ints, used: int, wanted: int) -> Ints:
    """Return an array with the first ``used`` rows and room for ``wanted``."""
    if wanted <= values.shape[0]:
        return values
    larger = np.empty((2 * wanted, values.shape[1]), np.int32)
    larger[:used] = values[:used]
    return larger


@kernel
def _number(pieces: Ints, start: int, number: int, stack: Ints) -> None:
    """Give the pixels of value -1 that hang together (4-neighbours) with one of them a number."""
    height, width = pieces.shape
    y, x = start // width, start % width
    pieces[y, x] = number
    stack[0] = start
    many = 1
    while many:
        many -= 1
        y, x = stack[many] // width, stack[many] % width
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and pieces[v, u] == -1:
                pieces[v, u] = number
                stack[many] = v * width + u
                many += 1


@kernel
def _inside(pieces: Ints, y: int, x: int) -> bool:
    height, width = pieces.shape
    if not (0 <= y < height and 0 <= x < width):
        return False
    return bool(pieces[y, x] != 0)


@kernel
def _follow(pieces: Ints, start: int, done: NDArray[np.bool_], path: Ints) -> tuple[int, Ints]:
    """Return how many corners the ring along the top of a pixel has, and these as x and y.

    The object is to the right; the first corner is the last one, too. Of the pixels whose tops
    are in the ring, ``done`` is set.
    """
    width = pieces.shape[1]
    first_y, first_x = start // width, start % width
    y, x, dy, dx = first_y, first_x, 0, 1
    path[0, 0], path[0, 1] = x, y
    many = 1
    while True:
        if dx == 1:
            done[y, x] = True
        y, x = y + dy, x + dx
        # The two pixels ahead; half a step to the right of a way (dy, dx) is (dx, -dy) / 2.
        right = _inside(pieces, y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2)
        left = _inside(pieces, y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2)
        if right and not left:
            continue
        # Where only the corners of two pixels meet, along the one that the way came by.
        dy, dx = (-dx, dy) if right else (dx, -dy)
        path = _with_room(path, many, many + 1)
        path[many, 0], path[many, 1] = x, y
        many += 1
        if y == first_y and x == first_x and dx == 1:
            return many, path


@kernel
def trace_rings(
    window: NDArray[np.signedinteger[Any]], ids: Longs, boxes: Longs
) -> tuple[Ints, Ints]:
    """Return the rings around some objects: their vertices, and what each ring is.

    A ring goes along the edges of pixels, with the object to its right where y points down, and
    turns at every vertex. It passes none twice, but for the first, which is the last one too.

    Parameters
    ----------
    window
        (Y, X) labels.
    ids
        (n,) of the objects.
    boxes
        (n, 4): y0, x0, y1, x1 of each in the window, ends exclusive.

    Returns
    -------
    vertices
        (V, 2): x and y in px of the window.
    rings
        (R, 4): number of the object, number of its piece (4-neighbours) from 1, 1 for the ring of
        a hole and 0 for the outer one, and how many vertices it has.
    """
    vertices, rings = np.empty((256, 2), np.int32), np.empty((64, 4), np.int32)
    path = np.empty((256, 2), np.int32)
    used = found = 0
    for one in range(ids.size):
        y0, x0, y1, x1 = boxes[one]
        height, width = y1 - y0, x1 - x0
        pieces = np.zeros((height, width), np.int32)
        for y in range(height):
            for x in range(width):
                if window[y0 + y, x0 + x] == ids[one]:
                    pieces[y, x] = -1
        done = np.zeros((height, width), np.bool_)
        stack = np.empty(height * width, np.int32)
        passed = np.zeros((height + 1, width + 1), np.int32)
        count = 0
        for start in range(height * width):
            y, x = start // width, start % width
            if pieces[y, x] == 0 or done[y, x] or _inside(pieces, y - 1, x):
                continue
            if pieces[y, x] == -1:
                count += 1
                _number(pieces, start, count, stack)
            corners, path = _follow(pieces, start, done, path)
            vertices = _with_room(vertices, used, used + 2 * corners)
            # What lies between two visits of a corner is a ring of its own, and is cut out.
            kept = 0
            for corner in range(corners):
                u, v = path[corner]
                begin = passed[v, u] - 1
                if begin < 0:
                    path[kept, 0], path[kept, 1] = u, v
                    kept += 1
                    passed[v, u] = kept
                    continue
                area = 0
                for at in range(begin, kept):
                    next_u, next_v = (
                        (u, v) if at == kept - 1 else (path[at + 1, 0], path[at + 1, 1])
                    )
                    area += np.int64(path[at, 0]) * next_v - np.int64(next_u) * path[at, 1]
                    vertices[used, 0], vertices[used, 1] = path[at, 0] + x0, path[at, 1] + y0
                    used += 1
                    if at > begin:
                        passed[path[at, 1], path[at, 0]] = 0
                vertices[used, 0], vertices[used, 1] = u + x0, v + y0
                used += 1
                rings = _with_room(rings, found, found + 1)
                rings[found, 0], rings[found, 1] = one, pieces[y, x]
                rings[found, 2], rings[found, 3] = area < 0, kept - begin + 1
                found += 1
                kept = begin + 1
            passed[path[0, 1], path[0, 0]] = 0
    return vertices[:used], rings[:found]
