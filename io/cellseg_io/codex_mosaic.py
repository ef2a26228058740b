"""Puts the CODEX tiles of a folder together, one image a region."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.address import Location
from cellseg_core.channels import NUCLEAR_STAIN
from cellseg_core.errors import ImageError
from cellseg_core.image import Image, Position
from cellseg_io.codex_tile import CodexTile
from cellseg_io.lazy import LazyPlanes
from cellseg_io.mosaic import Mosaic, place_tiles
from cellseg_io.overlap import Overlap, find_overlap

__all__ = ["assemble"]

_OPEN = 64
_PAIRS = 12
_TOLERANCE = 2

Grid = dict[tuple[int, int], "CodexTile"]
OpenTile = Callable[["CodexTile"], Image]


def assemble(
    folder: Path, tiles: Sequence[CodexTile], open_tile: OpenTile, overlap: int | None
) -> list[Image]:
    """Return one image for each region, or for each z of a region whose tiles have several.

    Parameters
    ----------
    folder
        Where the tiles are.
    tiles
        Sorted, each once.
    open_tile
        Returns the image of a tile, without its place; it can be pickled.
    overlap
        In px, in both directions; None to find it from the pixels, for each region by itself.

    Raises
    ------
    ImageError
        If a tile cannot be read, or does not fit the others, or the overlap does not fit them.
    """
    images = []
    for region, of_region in itertools.groupby(tiles, key=lambda tile: tile.region):
        grids = _grids(list(of_region))
        opened = functools.lru_cache(maxsize=_OPEN)(functools.partial(_open, open_tile))
        headers = {tile: _Header.of(opened(tile)) for grid in grids for tile in grid.values()}
        _check_alike(headers)
        found = {
            "rows": find_overlap(_neighbours(grids, (1, 0), opened)),
            "columns": find_overlap(_neighbours(grids, (0, 1), opened)),
        }
        for grid in grids:
            first = next(iter(grid.values()))
            image = _Region(grid, headers, found, overlap).image(opened(first), open_tile)
            name = f"reg{region:03d}" + (f"_Z{first.z:02d}" if len(grids) > 1 else "")
            images.append(attrs.evolve(image, name=name, source=str(folder)))
    return images


def _grids(tiles: Sequence[CodexTile]) -> list[Grid]:
    """Return the tiles of a region by (row, column), for each z apart if a place has several."""
    # The best focus can lie at a different z in each tile.
    together = {(tile.row, tile.col): tile for tile in tiles}
    if len(together) == len(tiles):
        return [together]
    return [
        {(tile.row, tile.col): tile for tile in tiles if tile.z == z}
        for z in sorted({tile.z for tile in tiles})
    ]


def _open(open_tile: OpenTile, tile: CodexTile) -> Image:
    try:
        return open_tile(tile)
    except ImageError as error:
        raise ImageError(
            f"{error} Or take {tile.path.name} out of the folder: its place stays empty."
        ) from error


@attrs.frozen
class _Header:
    """What is kept of a tile that was looked at."""

    shape: tuple[int, int]
    kind: str
    channels: tuple[str, ...]
    files: tuple[Location, ...]

    @classmethod
    def of(cls, image: Image) -> _Header:
        count = len(image.channels)
        kind = f"{count} channel{'s' * (count != 1)} of {image.dtype}"
        return cls(image.shape, kind, image.channels, image.files)


def _check_alike(headers: Mapping[CodexTile, _Header]) -> None:
    first, kind = next((tile, header.kind) for tile, header in headers.items())
    for tile, header in headers.items():
        if header.kind != kind:
            raise ImageError(
                f"{tile.path} has {header.kind}, and {first.path.name} has {kind}; tiles that are "
                "put together must be alike. Take the odd one out of the folder: its place stays "
                "empty."
            )


def _neighbours(
    grids: Sequence[Grid], step: tuple[int, int], opened: OpenTile
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the halves that meet of up to 12 pairs of tiles, turned so that they lie side by side.

    ``step`` leads from a (row, column) to its neighbour.
    """
    pairs = [
        (tile, grid[row + step[0], col + step[1]])
        for grid in grids
        for (row, col), tile in grid.items()
        if (row + step[0], col + step[1]) in grid
    ]
    count = min(_PAIRS, len(pairs))
    axis = step.index(1)
    for one, other in (pairs[i * len(pairs) // count] for i in range(count)):
        first, second = opened(one), opened(other)
        half = min(first.shape[axis], second.shape[axis]) // 2
        end = first.shape[axis]
        left, right = _part(first, axis, end - half, end), _part(second, axis, 0, half)
        length = min(len(left), len(right))
        yield left[:length], right[:length]


def _part(image: Image, axis: int, start: int, stop: int) -> NDArray[np.float32]:
    """Return a part of the nuclear channel, or of the first, with ``axis`` as its columns."""
    channel = next((i for i, name in enumerate(image.channels) if NUCLEAR_STAIN.match(name)), 0)
    window = [slice(None), slice(None)]
    window[axis] = slice(start, stop)
    pixels = image.read(channel, *window).astype(np.float32)
    pixels = np.nan_to_num(pixels, copy=False, posinf=0, neginf=0)
    return np.ascontiguousarray(pixels if axis == 1 else pixels.T)


@attrs.frozen
class _Region:
    """The tiles of one image, and what is known of their overlap: found and, perhaps, given."""

    grid: Grid
    headers: Mapping[CodexTile, _Header]
    found: Mapping[str, Overlap]
    given: int | None

    def image(self, first: Image, open_tile: OpenTile) -> Image:
        """Return the image; what is the same in all tiles is that of the ``first``."""
        heights = _lines((row, self.headers[tile].shape[0]) for (row, _), tile in self._tiles)
        widths = _lines((col, self.headers[tile].shape[1]) for (_, col), tile in self._tiles)
        self._check_sizes(heights, widths)
        down, right = self._overlap("rows", heights), self._overlap("columns", widths)
        top, left = min(heights), min(widths)
        placed, shape = place_tiles(
            {(row - top, col - left): tile for (row, col), tile in self._tiles},
            list(heights.values()),
            list(widths.values()),
            (down, right),
        )
        source = Mosaic(placed, open_tile, first.dtype)
        z = {tile.z for _, tile in self._tiles}
        doubts = self._doubts(heights, widths)
        return attrs.evolve(
            first,
            pixels=LazyPlanes((len(first.channels), *shape), first.dtype, source, first.stored),
            axes="; ".join([first.axes, *self._told(heights, widths), *doubts]),
            notes=(*first.notes, *doubts),
            position=Position(
                min(self.grid.values()).region,
                tile_z=min(z) if len(z) == 1 else 1,
                # Some programs count tiles from 0; rows before those that are there count.
                y0=float((top - min(1, top)) * (heights[top] - down)),
                x0=float((left - min(1, left)) * (widths[left] - right)),
            ),
            files=tuple(file for _, tile in self._tiles for file in self.headers[tile].files),
        )

    @property
    def _tiles(self) -> Iterable[tuple[tuple[int, int], CodexTile]]:
        return self.grid.items()

    def _check_sizes(self, heights: Mapping[int, int], widths: Mapping[int, int]) -> None:
        for (row, col), tile in self._tiles:
            height, width = self.headers[tile].shape
            if (height, width) != (heights[row], widths[col]):
                raise ImageError(
                    f"{tile.path} is {height} x {width} px; most tiles of its row are "
                    f"{heights[row]} px high, and most of its column {widths[col]} px wide. Take "
                    "it out of the folder: its place stays empty. Or read each tile as an image of "
                    "its own: --layout codex."
                )

    def _overlap(self, direction: str, sizes: Mapping[int, int]) -> int:
        overlap = (self.found[direction].pixels or 0) if self.given is None else self.given
        if overlap > min(sizes.values()) // 2:
            folder = next(iter(self.grid.values())).path.parent
            raise ImageError(
                f"{folder}: tiles of {min(sizes.values())} px cannot overlap by {overlap} px, more "
                "than half of them. Give the number of px that two neighbours share (--set "
                "reader.overlap=PX), or leave it out to have it found."
            )
        return overlap

    def _told(self, heights: Mapping[int, int], widths: Mapping[int, int]) -> Iterator[str]:
        """Yield clauses on how many tiles there are, and how they overlap."""
        count, places = len(self.grid), len(heights) * len(widths)
        told = f"{count} CODEX tile{'s' * (count != 1)} as one image (X{min(widths)} to "
        told += f"X{max(widths)}, Y{min(heights)} to Y{max(heights)})"
        z = {tile.z for _, tile in self._tiles}
        if len(z) > 1:
            told += f", each at a Z of its own from {min(z)} to {max(z)}"
        if count < places:
            told += f", {places - count} of {places} missing and empty (0)"
        yield told
        for direction, sizes in (("rows", heights), ("columns", widths)):
            found = self.found[direction]
            if len(sizes) > 1 and self.given is not None:
                yield f"{direction} overlap by {self.given} px, as given"
            elif len(sizes) > 1 and found.pixels is not None:
                yield (
                    f"{direction} overlap by {found.pixels} px, as {found.counted} of "
                    f"{_pairs(found)} show"
                )

    def _doubts(self, heights: Mapping[int, int], widths: Mapping[int, int]) -> list[str]:
        """Return sentences on what a user should look at."""
        doubts = []
        first = next(iter(self.grid.values()))
        if len({self.headers[tile].channels for _, tile in self._tiles}) > 1:
            doubts.append(
                f"channels are named as in {first.path.name}, and other tiles name them otherwise"
            )
        for direction, sizes in (("rows", heights), ("columns", widths)):
            found = self.found[direction]
            if len(sizes) > 1 and self.given is None and found.pixels is None:
                doubts.append(
                    f"no overlap of {direction} was found in {_pairs(found)}: give it with --set "
                    "reader.overlap=PX, 0 where there is none"
                )
            if found.pixels is None:
                continue
            if self.given is not None and abs(found.pixels - self.given) > _TOLERANCE:
                doubts.append(
                    f"{direction} overlap by {found.pixels} px, and not by {self.given}, as "
                    f"{found.counted} of {_pairs(found)} show"
                )
            if found.astray:
                doubts.append(
                    f"{found.astray} of {found.counted} pairs of {direction} lie more than "
                    f"{_TOLERANCE} px from where an overlap of {found.pixels} px puts them: such "
                    "tiles need registration first, for example with ASHLAR"
                )
        return doubts


def _pairs(found: Overlap) -> str:
    return f"{found.looked_at} pair{'s' * (found.looked_at != 1)} of neighbours"


def _lines(sizes: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return the size of each row, or column, by its number: of most of its tiles.

    Of one without any tile it is that of most others.

    >>> _lines([(2, 50), (2, 50), (2, 40), (4, 50)])
    {2: 50, 3: 50, 4: 50}
    """
    found: dict[int, Counter[int]] = {}
    for number, size in sizes:
        found.setdefault(number, Counter())[size] += 1
    known = {number: counts.most_common(1)[0][0] for number, counts in found.items()}
    usual = Counter(known.values()).most_common(1)[0][0]
    return {n: known.get(n, usual) for n in range(min(known), max(known) + 1)}
