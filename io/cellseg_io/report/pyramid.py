"""What the zoom viewer shows: tiles of the nuclear image and of outlines, coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.outlines import inner_outlines
from cellseg_core.painting import CELL, NUCLEUS, Colour, Tone, magnified
from cellseg_core.tiling import Box
from cellseg_io.report.pictures import jpeg, line_png

if TYPE_CHECKING:
    from cellseg_core.label_image import LazyLabels
    from cellseg_core.protocols import Labels
    from cellseg_core.result import Result

__all__ = ["TILE", "Pyramid", "build_pyramid"]

TILE = 512
"""Px of a tile's edge."""

_OUTLINED = 5.0  # px of a nucleus in a picture: smaller ones are not outlined
_CLEAR = 24.0  # px of a nucleus whose outline is a thin line
_MOST_ZOOM = 4
_MOST_MAGNIFIED = 2**24  # px of all magnified tiles
_TEXT = 4 / 3  # characters of a byte
_COARSER = 4 / 3  # all levels, in the size of the finest
_TRIED = 3  # tiles along an edge of the image that tell how well it can be compressed


@attrs.frozen
class Pyramid:
    """Levels of tiles.

    Attributes
    ----------
    layers
        ``image``, ``cells`` if nuclei were grown, and ``nuclei``: for each a list of levels,
        coarse to fine. A level has ``scale`` (px of the level for a px of the image) and
        ``tiles``: data URIs by ``column_row``.
    step
        Px of the image for a px of the finest level that shows all of it.
    """

    layers: dict[str, list[dict[str, Any]]]
    step: int

    @property
    def size(self) -> int:
        """Return the characters of all tiles."""
        return sum(
            len(uri)
            for levels in self.layers.values()
            for level in levels
            for uri in level["tiles"].values()
        )


def build_pyramid(result: Result, tone: Tone, budget: int, spots: Iterable[Box] = ()) -> Pyramid:
    """Return the tiles of an image in at most about ``budget`` characters.

    Where all of the image does not fit at full resolution, the finest level is coarser, and full
    resolution is there around ``spots``. Memory is that of a row of tiles, and of the next coarser
    level.
    """
    maker = _Maker(result, tone)
    step = maker.finest(budget)
    layers: dict[str, list[dict[str, Any]]] = {name: [] for name in ("image", *maker.outlined)}
    coarser: NDArray[np.uint8] | None = None
    at = step
    while True:
        tiles: dict[str, str] = {}
        kept = []
        for row, strip in maker.strips(at) if coarser is None else _strips_of(coarser):
            for column, tile in _tiles(strip):
                tiles[f"{column}_{row}"] = jpeg(tile)
            kept.append(_halved(strip))
        layers["image"].insert(0, {"scale": 1 / at, "tiles": tiles})
        for name, tiled in maker.outlines(at).items():
            layers[name] = tiled + layers[name]
        if max(-(-length // at) for length in result.image.shape) <= TILE:
            break
        coarser, at = np.concatenate(kept), 2 * at
    if step > 1:
        for name, level in maker.close(spots).items():
            layers[name].append(level)
    return Pyramid(layers, step)


@attrs.frozen(eq=False)
class _Maker:
    result: Result
    tone: Tone

    @property
    def outlined(self) -> dict[str, tuple[Labels | LazyLabels, Colour]]:
        """Return the label images and their colours; later ones lie over earlier ones."""
        found: dict[str, tuple[Labels | LazyLabels, Colour]] = {}
        if self.result.cells is not self.result.nuclei:
            found["cells"] = (self.result.cells, CELL)
        return {**found, "nuclei": (self.result.nuclei, NUCLEUS)}

    def finest(self, budget: int) -> int:
        """Return the step of the finest level that fits, from some tiles at full resolution."""
        height, width = self.result.image.shape
        taken = pixels = 0
        for box in _spread((height, width)):
            taken += len(jpeg(self._gray(box)))
            pixels += math.prod(box.shape)
            for labels, colour in self.outlined.values():
                taken += len(line_png(inner_outlines(np.asarray(labels[box.slices])), colour))
        every = _COARSER * taken / pixels * height * width
        step = 1
        while every / step**2 * (1 if step == 1 else 1.5) > budget and step < max(height, width):
            step *= 2
        return step

    def _gray(self, box: Box) -> NDArray[np.uint8]:
        return self.tone.gray(self.result.scaled.read(*box.slices)[0])

    def strips(self, step: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield rows of tiles of the image (y, x), means of squares of ``step`` px."""
        height, _width = self.result.image.shape
        for row in range(-(-height // (TILE * step))):
            top, end = row * TILE * step, min(height, (row + 1) * TILE * step)
            part = max(step, TILE // step * step)
            pieces = []
            for start in range(top, end, part):
                plane = self.result.scaled.read(slice(start, min(start + part, end)))[0]
                pieces.append(self.tone.gray(_reduced(plane, step)))
            yield row, np.concatenate(pieces)

    def outlines(self, step: int) -> dict[str, list[dict[str, Any]]]:
        """Return the levels of outlines that go with ``step``, none where they would touch.

        At full resolution small nuclei have a level that is magnified as well.
        """
        if self.result.nuclear_diameter / step < _OUTLINED:
            return {}
        zooms = [1]
        if step == 1:
            zoom = int(np.clip(round(_CLEAR / self.result.nuclear_diameter), 1, _MOST_ZOOM))
            while zoom > 1 and math.prod(self.result.image.shape) * zoom**2 > _MOST_MAGNIFIED:
                zoom -= 1
            zooms = [1, zoom] if zoom > 1 else [1]
        levels = [self._outlines(step, zoom) for zoom in zooms]
        return {name: [level[name] for level in levels] for name in self.outlined}

    def _outlines(self, step: int, zoom: int) -> dict[str, dict[str, Any]]:
        shape = self.result.image.shape
        height, _width = (-(-length // step) * zoom for length in shape)
        levels = {}
        for name, (labels, colour) in self.outlined.items():
            tiles = {}
            for row in range(-(-height // TILE)):
                # One more on each side, for the outlines at the edges of tiles.
                first = max(0, row * TILE // zoom - 1)
                last = min(height // zoom, -(-(row + 1) * TILE // zoom) + 1)
                part = np.asarray(labels[first * step : last * step : step, ::step])
                lines = inner_outlines(magnified(part, zoom))
                start = row * TILE - first * zoom
                for column, tile in _tiles(lines[start : start + TILE]):
                    if tile.any():
                        tiles[f"{column}_{row}"] = line_png(tile, colour)
            levels[name] = {"scale": zoom / step, "tiles": tiles}
        return levels

    def close(self, spots: Iterable[Box]) -> dict[str, dict[str, Any]]:
        """Return a level at full resolution that has the tiles around some spots alone."""
        shape = self.result.image.shape
        wanted = sorted(
            {
                (row, column)
                for box in spots
                for row in range(box.y0 // TILE, -(-box.y1 // TILE))
                for column in range(box.x0 // TILE, -(-box.x1 // TILE))
            }
        )
        levels: dict[str, dict[str, Any]] = {
            name: {"scale": 1.0, "tiles": {}} for name in ("image", *self.outlined)
        }
        for row, column in wanted:
            place, top, left = f"{column}_{row}", row * TILE, column * TILE
            box = Box(top, min(top + TILE, shape[0]), left, min(left + TILE, shape[1]))
            levels["image"]["tiles"][place] = jpeg(self._gray(box))
            around = box.grown(1, shape)
            for name, (labels, colour) in self.outlined.items():
                lines = inner_outlines(np.asarray(labels[around.slices]))[box.within(around)]
                levels[name]["tiles"][place] = line_png(lines, colour)
        return levels


def _spread(shape: tuple[int, int]) -> list[Box]:
    """Return some windows of a tile's size, spread over an image."""
    (ys, height), (xs, width) = (
        (
            [
                (2 * n + 1) * length // (2 * count) - min(TILE, length // count) // 2
                for n in range(count)
            ],
            min(TILE, length // count),
        )
        for length in shape
        for count in [min(_TRIED, -(-length // TILE))]
    )
    return [Box(y, y + height, x, x + width) for y in ys for x in xs]


def _strips_of(plane: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for row in range(-(-plane.shape[0] // TILE)):
        yield row, plane[row * TILE : (row + 1) * TILE]


def _tiles(strip: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    for column in range(-(-strip.shape[1] // TILE)):
        yield column, strip[:, column * TILE : (column + 1) * TILE]


def _halved(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    halved: NDArray[np.uint8] = np.round(_reduced(gray, 2)).astype(np.uint8)
    return halved


def _reduced(plane: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Return means of squares of ``step`` px; what is over at the end is a part of a square."""
    if step == 1:
        return plane.astype(np.float32, copy=False)
    starts: Sequence[NDArray[np.intp]] = [np.arange(0, length, step) for length in plane.shape]
    rows = np.add.reduceat(plane.astype(np.float32, copy=False), starts[0], axis=0)
    sums = np.add.reduceat(rows, starts[1], axis=1)
    sizes = [np.diff([*start, length]) for start, length in zip(starts, plane.shape, strict=True)]
    means: NDArray[np.float32] = (sums / np.outer(*sizes)).astype(np.float32)
    return means
