"""Puts the CODEX tiles of a folder together, one image a region."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.channels import NUCLEAR_STAIN
from cellseg_core.errors import ImageError
from cellseg_core.image import Image, Position
from cellseg_io.lazy import LazyPlanes
from cellseg_io.mosaic import Mosaic, place_tiles
from cellseg_io.overlap import Overlap, find_overlap

if TYPE_CHECKING:
    from cellseg_io.codex import CodexTile

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
        In px, in both directions; None to find it from the pixels.

    Raises
    ------
    ImageError
        If a tile cannot be read, or does not fit the others, or the overlap does not fit them.
    """
    opened = functools.lru_cache(maxsize=_OPEN)(functools.partial(_open, open_tile))
    images = []
    for region, of_region in itertools.groupby(tiles, key=lambda tile: tile.region):
        grids = _grids(of_region)
        first = next(iter(grids[0].values()))
        for grid in grids:
            for tile in grid.values():
                _check_alike(tile, opened(tile), first, opened(first))
        found = {
            "rows": find_overlap(_neighbours(grids, (1, 0), opened)),
            "columns": find_overlap(_neighbours(grids, (0, 1), opened)),
        }
        for grid in grids:
            name = f"reg{region:03d}"
            if len(grids) > 1:
                name += f"_Z{next(iter(grid.values())).z:02d}"
            image = _put_together(grid, opened, open_tile, found, overlap)
            images.append(attrs.evolve(image, name=name, source=str(folder)))
    return images


def _grids(tiles: Iterable[CodexTile]) -> list[Grid]:
    """Return the tiles of a region by (row, column), for each z apart if a place has several."""
    by_z: dict[int, Grid] = {}
    for tile in tiles:
        by_z.setdefault(tile.z, {})[tile.row, tile.col] = tile
    places = [place for grid in by_z.values() for place in grid]
    if len(set(places)) < len(places):
        return [by_z[z] for z in sorted(by_z)]
    # The best focus can lie at a different z in each tile.
    return [{place: grid[place] for grid in by_z.values() for place in sorted(grid)}]


def _open(open_tile: OpenTile, tile: CodexTile) -> Image:
    try:
        return open_tile(tile)
    except ImageError as error:
        raise ImageError(
            f"{error} Or take {tile.path.name} out of the folder: its place stays empty."
        ) from error


def _check_alike(tile: CodexTile, image: Image, first: CodexTile, other: Image) -> None:
    def kind(one: Image) -> str:
        count = len(one.channels)
        return f"{count} channel{'s' * (count != 1)} of {one.dtype}"

    if kind(image) != kind(other):
        raise ImageError(
            f"{tile.path} has {kind(image)}, and {first.path.name} has {kind(other)}; tiles that "
            "are put together must be alike. Take the odd one out of the folder: its place stays "
            "empty."
        )


def _neighbours(
    grids: Sequence[Grid], step: tuple[int, int], opened: OpenTile
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the halves that meet, side by side, of up to 12 pairs of tiles of one row or column."""
    pairs = [
        (tile, grid[row + step[0], col + step[1]])
        for grid in grids
        for (row, col), tile in sorted(grid.items())
        if (row + step[0], col + step[1]) in grid
    ]
    count = min(_PAIRS, len(pairs))
    for one, other in (pairs[i * len(pairs) // count] for i in range(count)):
        first, second = opened(one), opened(other)
        along = 0 if step[0] else 1
        half = min(first.shape[along], second.shape[along]) // 2
        parts = (
            _half(first, slice(first.shape[along] - half, None), along),
            _half(second, slice(0, half), along),
        )
        length = min(part.shape[0] for part in parts)
        yield parts[0][:length], parts[1][:length]


def _half(image: Image, part: slice, along: int) -> NDArray[np.float32]:
    names = image.channels
    channel = next((i for i, name in enumerate(names) if NUCLEAR_STAIN.match(name)), 0)
    rows, columns = (part, slice(None)) if along == 0 else (slice(None), part)
    pixels = image.read(channel, rows, columns).astype(np.float32)
    finite = np.nan_to_num(pixels, nan=0, posinf=0, neginf=0)
    return np.ascontiguousarray(finite.T if along == 0 else finite)


def _put_together(
    grid: Grid,
    opened: OpenTile,
    open_tile: OpenTile,
    found: Mapping[str, Overlap],
    given: int | None,
) -> Image:
    first = next(iter(grid.values()))
    sizes = {place: opened(tile).shape for place, tile in grid.items()}
    heights = _lines((row, size[0]) for (row, _), size in sizes.items())
    widths = _lines((col, size[1]) for (_, col), size in sizes.items())
    for (row, col), size in sizes.items():
        if size != (heights[row], widths[col]):
            raise ImageError(
                f"{grid[row, col].path} is {size[0]} x {size[1]} px, but its row is {heights[row]} "
                f"px high and its column {widths[col]} px wide, so that it leaves a gap. Take it "
                "out of the folder: its place stays empty. Or read each tile as an image of its "
                "own: --layout codex."
            )
    lines = {"rows": heights, "columns": widths}
    overlap = {
        direction: _overlap(found[direction], given, lines[direction], first) for direction in lines
    }
    top, left = min(heights), min(widths)
    placed, shape = place_tiles(
        {(row - top, col - left): tile for (row, col), tile in grid.items()},
        list(heights.values()),
        list(widths.values()),
        (overlap["rows"], overlap["columns"]),
    )
    image = opened(first)
    source = Mosaic(placed, open_tile, image.dtype)
    z = {tile.z for tile in grid.values()}
    axes = [image.axes, _counted(grid, heights, widths)]
    if len({opened(tile).channels for tile in grid.values()}) > 1:
        axes.append(f"channels named as in {first.path.name}; other tiles have other names")
    for direction, sizes_along in lines.items():
        if len(sizes_along) > 1:
            axes += _told(found[direction], overlap[direction], given, direction)
    return attrs.evolve(
        image,
        pixels=LazyPlanes((len(image.channels), *shape), image.dtype, source, image.stored),
        axes="; ".join(axes),
        position=Position(
            first.region,
            tile_z=z.pop() if len(z) == 1 else 1,
            y0=float((top - min(1, top)) * (heights[top] - overlap["rows"])),
            x0=float((left - min(1, left)) * (widths[left] - overlap["columns"])),
        ),
        files=tuple(file for tile in grid.values() for file in opened(tile).files),
    )


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


def _overlap(found: Overlap, given: int | None, sizes: Mapping[int, int], first: CodexTile) -> int:
    """Return the overlap of rows, or of columns, of these sizes.

    Raises
    ------
    ImageError
        If it is more than half a tile.
    """
    if len(sizes) == 1:
        return 0
    overlap = (found.pixels or 0) if given is None else given
    if overlap > min(sizes.values()) // 2:
        raise ImageError(
            f"{first.path.parent}: tiles of {min(sizes.values())} px cannot overlap by {overlap} "
            "px, which is more than half of them. Give the number of px that two neighbours share "
            "(--set reader.overlap=PX), or leave it out to have it found."
        )
    return overlap


def _counted(grid: Grid, heights: Mapping[int, int], widths: Mapping[int, int]) -> str:
    """Return a clause on how many tiles there are, and how many are missing."""
    count, missing = len(grid), len(heights) * len(widths) - len(grid)
    told = f"{count} CODEX tile{'s' * (count != 1)} as one image ("
    told += f"X{min(widths)} to X{max(widths)}, Y{min(heights)} to Y{max(heights)})"
    z = {tile.z for tile in grid.values()}
    if len(z) > 1:
        told += f", each at its own Z from {min(z)} to {max(z)}"
    if missing:
        told += f", {missing} of {count + missing} missing and empty (0)"
    return told


def _told(found: Overlap, overlap: int, given: int | None, lines: str) -> list[str]:
    """Return clauses on the overlap of rows, or of columns, and how it is known."""
    pairs = f"{found.looked_at} pair{'s' * (found.looked_at != 1)} of neighbours"
    told = []
    if given is not None:
        told.append(f"{lines} overlap by {given} px, as given")
        if found.pixels is not None and abs(found.pixels - given) > _TOLERANCE:
            told.append(f"but {found.counted} of {pairs} show an overlap of {found.pixels} px")
    elif found.pixels is None:
        told.append(
            f"no overlap of {lines} was found in {pairs}: where there is one, give it with "
            "--set reader.overlap=PX"
        )
    else:
        told.append(f"{lines} overlap by {overlap} px, as {found.counted} of {pairs} show")
    if found.astray:
        told.append(
            f"{found.astray} of them lie more than {_TOLERANCE} px from that place: such tiles "
            "need registration first, for example with ASHLAR"
        )
    return told
