"""Overlapping tiles: cores that partition the image, and the wider windows that are segmented."""

from __future__ import annotations

import itertools
import math

import attrs

from cellseg_core.errors import ConfigurationError

__all__ = ["Box", "Tile", "tile_image"]


@attrs.frozen(order=True)
class Box:
    """A window of an image in px: rows ``y0`` to ``y1`` (exclusive), columns ``x0`` to ``x1``.

    Boxes sort by their four numbers in this order, which breaks ties between windows alike.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the box as an index (rows, columns)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, margin: int, shape: tuple[int, int]) -> Box:
        """Return the box wider by ``margin`` on every side, cut at the edges of the image."""
        return Box(
            max(0, self.y0 - margin),
            min(shape[0], self.y1 + margin),
            max(0, self.x0 - margin),
            min(shape[1], self.x1 + margin),
        )

    def intersection(self, other: Box) -> Box | None:
        """Return the common part, or None."""
        y0, y1 = max(self.y0, other.y0), min(self.y1, other.y1)
        x0, x1 = max(self.x0, other.x0), min(self.x1, other.x1)
        return Box(y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None

    def within(self, outer: Box) -> tuple[slice, slice]:
        """Return the box as an index into an array that covers ``outer``."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )


@attrs.frozen
class Tile:
    """One tile: its place in the grid, its core, and the window (core and margin) it is read by."""

    row: int
    col: int
    core: Box
    window: Box


def tile_image(shape: tuple[int, int], size: int, margin: int) -> list[Tile]:
    """Return tiles, row by row, whose cores partition an image and differ by at most 1 px in size.

    Parameters
    ----------
    shape
        (height, width) of the image in px.
    size
        Largest height and width of a core in px.
    margin
        What a window adds to its core on every side in px, except beyond the image.

    >>> [(t.core.y0, t.core.y1, t.window.y0, t.window.y1) for t in tile_image((250, 90), 100, 8)]
    [(0, 83, 0, 91), (83, 167, 75, 175), (167, 250, 159, 250)]
    """
    if size < 1 or margin < 0:
        raise ConfigurationError(
            f"a tile has at least 1 px and its overlap is not negative; got {size} and {2 * margin}"
        )
    ys, xs = (
        [round(i * length / math.ceil(length / size)) for i in range(math.ceil(length / size) + 1)]
        for length in shape
    )
    tiles = []
    for row, (y0, y1) in enumerate(itertools.pairwise(ys)):
        for col, (x0, x1) in enumerate(itertools.pairwise(xs)):
            core = Box(y0, y1, x0, x1)
            tiles.append(Tile(row, col, core, core.grown(margin, shape)))
    return tiles
