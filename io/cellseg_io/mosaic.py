"""Tiles that overlap, as one image: each pixel comes from one tile."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_core.tiling import Box
from cellseg_io.codex_tile import CodexTile

__all__ = ["Mosaic", "PlacedTile", "place_tiles"]

_OPEN = 64


@attrs.frozen
class PlacedTile:
    """A tile, the box of the mosaic that it covers, and the part of it that is shown."""

    tile: CodexTile
    covers: Box
    shows: Box


class Mosaic:
    """The channels of tiles put together, as a :class:`~cellseg_io.lazy.PlaneSource`.

    Only tiles that a window touches are opened, and the last 64 of them stay so; other processes
    open them for themselves. Where there is no tile, pixels are 0.

    Parameters
    ----------
    tiles
        What :func:`place_tiles` returned.
    open_tile
        Returns the image of a tile; it can be pickled.
    dtype
        Data type of all tiles.
    """

    def __init__(
        self,
        tiles: Sequence[PlacedTile],
        open_tile: Callable[[CodexTile], Image],
        dtype: np.dtype[Any],
    ) -> None:
        self.tiles, self.open_tile, self.dtype = tuple(tiles), open_tile, dtype
        self._open = functools.lru_cache(maxsize=_OPEN)(self._checked)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may work in another folder.
        tiles = tuple(
            attrs.evolve(placed, tile=attrs.evolve(placed.tile, path=placed.tile.path.absolute()))
            for placed in self.tiles
        )
        return Mosaic, (tiles, self.open_tile, self.dtype)

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        wanted = Box(y0, y1, x0, x1)
        out = np.zeros(wanted.shape, self.dtype)
        for placed in self.tiles:
            part = placed.shows.intersection(wanted)
            if part is not None:
                rows, columns = part.within(placed.covers)
                out[part.within(wanted)] = self._open(placed).read(channel, rows, columns)
        return out

    def _checked(self, placed: PlacedTile) -> Image:
        image = self.open_tile(placed.tile)
        if image.shape != placed.covers.shape or image.dtype != self.dtype:
            raise ImageError(
                f"{placed.tile.path} was changed after it was opened: it is {image.shape} px, "
                f"{image.dtype} now, and was {placed.covers.shape} px, {self.dtype}. Run the "
                "same command again."
            )
        return image


def place_tiles(
    tiles: Mapping[tuple[int, int], CodexTile],
    heights: Sequence[int],
    widths: Sequence[int],
    overlap: tuple[int, int],
) -> tuple[list[PlacedTile], tuple[int, int]]:
    """Return where each tile lies and what it shows, and the size (height, width) of the mosaic.

    Of two tiles that overlap, each shows its side of the middle of the overlap; a tile without a
    neighbour on one side shows all that it has there. Where two tiles then show the same pixels,
    beside one that is missing, those of the later one are taken, row by row.

    Parameters
    ----------
    tiles
        By (row, column), counted from 0.
    heights, widths
        Of all rows and all columns of the grid, in px.
    overlap
        Of neighbours in a column, and of neighbours in a row, in px; at most half a tile.
    """
    tops, row_seams = _along(heights, overlap[0])
    lefts, column_seams = _along(widths, overlap[1])
    placed = []
    for row, col in sorted(tiles):
        covers = Box(tops[row], tops[row] + heights[row], lefts[col], lefts[col] + widths[col])
        shows = Box(
            row_seams[row] if (row - 1, col) in tiles else covers.y0,
            row_seams[row + 1] if (row + 1, col) in tiles else covers.y1,
            column_seams[col] if (row, col - 1) in tiles else covers.x0,
            column_seams[col + 1] if (row, col + 1) in tiles else covers.x1,
        )
        placed.append(PlacedTile(tiles[row, col], covers, shows))
    return placed, (row_seams[-1], column_seams[-1])


def _along(sizes: Sequence[int], overlap: int) -> tuple[list[int], list[int]]:
    """Return where each tile starts, and the seams before, between and after them.

    >>> _along([100, 100, 60], 20)
    ([0, 80, 160], [0, 90, 170, 220])
    """
    starts = [0, *itertools.accumulate(size - overlap for size in sizes[:-1])]
    return starts, [0, *(start + overlap // 2 for start in starts[1:]), starts[-1] + sizes[-1]]
