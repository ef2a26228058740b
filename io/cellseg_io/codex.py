"""Reads CODEX data: processed tiles such as ``reg001_X02_Y04_Z08.tif``, and raw folders."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.image import Image, Position
from cellseg_io.axes import Projection, as_depth
from cellseg_io.codex_mosaic import assemble
from cellseg_io.codex_raw import find_planes, is_raw_folder, read_raw
from cellseg_io.codex_tile import CodexTile, as_tile, find_tiles
from cellseg_io.names import fit_names, names_beside, unique_names
from cellseg_io.tiff import TiffReader

__all__ = ["CodexReader", "is_codex_folder"]


def is_codex_folder(path: Path) -> bool:
    """Return True if a folder holds processed tiles, or ``CycN_regR`` folders of raw planes."""
    try:
        return path.is_dir() and any(
            as_tile(entry) is not None or is_raw_folder(entry) for entry in path.iterdir()
        )
    except OSError:
        # A folder that cannot be listed is reported by the reader that is asked to read it.
        return False


def _as_overlap(value: object) -> int | None:
    if value is None or value == "":
        return None
    try:
        pixels = int(str(value))
    except ValueError:
        pixels = -1
    if pixels < 0:
        raise ConfigurationError(f"the overlap of tiles is a number of px, 0 or more; got {value}")
    return pixels


def _as_switch(value: object) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ConfigurationError(f"assemble is true or false; got {value!r}")
    return str(value).lower() == "true"


@attrs.frozen
class CodexReader:
    """Reads CODEX tiles, a folder of them, or a raw CODEX folder.

    Parameters
    ----------
    overlap
        Overlap of neighbouring tiles in px, for their coordinates in the region. 0 for tiles that
        the CODEX processor has already cropped. Default: 0 for tiles that are images of their
        own; found from the pixels where they are put together.
    assemble
        Puts the tiles of a folder together, one image a region; ``--layout mosaic`` does it.
    z
        Plane of stacks: a number from 1 on, or "max". In a raw folder every Z is its own image
        unless a number is given.

    Notes
    -----
    Time points of a tile are its staining cycles; their channels follow each other. Names come
    from ``channelNames.txt`` in the folder of the tiles or the one above.

    A tile's place in its region is the sum of the sizes, less the overlap, of the tiles before
    it in its row and its column, as they are on disk; a tile that is missing or damaged counts
    with the size of the tile itself. Tiles that are put together must be equally high in a row
    and equally wide in a column, and an overlap is at most half of them.
    """

    overlap: int | None = attrs.field(default=None, converter=_as_overlap)
    assemble: bool = attrs.field(default=False, converter=_as_switch)
    z: int | Projection | None = attrs.field(default=None, converter=as_depth)

    def read(self, path: Path) -> Sequence[Image]:
        """Return the tile, or all tiles of a folder by region, row, column and z.

        Where tiles are put together: all regions of the folder, by region and z.

        Raises
        ------
        ImageError
            If the path does not follow the CODEX naming, or a file is missing or unreadable.
        ChannelError
            If ``channelNames.txt`` does not fit the channels.
        """
        path = Path(path)
        try:
            return self._read(path)
        except OSError as error:
            raise ImageError(
                f"{path} cannot be listed ({error.strerror or error}). Check its permissions."
            ) from error

    def _read(self, path: Path) -> list[Image]:
        if not path.is_dir():
            tile = as_tile(path)
            if tile is None:
                raise ImageError(
                    f"{path} is not named like a CODEX tile, reg001_X01_Y01_Z01.tif. Planes of a "
                    "raw acquisition are read through the folder that holds the CycN_regR folders."
                )
            if self.assemble:
                raise ImageError(
                    f"{path} is one tile; those of a folder are put together. Read the folder "
                    "with --layout mosaic."
                )
            around = find_tiles(path.parent) if path.parent.is_dir() else []
            _check_once([other for other in around if _place(other) == _place(tile)])
            return [self._tile(tile, _Sizes(self, around))]
        tiles = find_tiles(path)
        if tiles:
            _check_once(tiles)
            if self.assemble:
                return assemble(path, tiles, self.open_tile, self.overlap)
            sizes = _Sizes(self, tiles)
            return [self._tile(tile, sizes) for tile in tiles]
        if find_planes(path):
            if self.assemble:
                raise ImageError(
                    f"{path} is a raw CODEX folder: the names of its planes do not say where a "
                    "tile lies, so that they cannot be put together. Read each tile as an image of "
                    "its own (--layout codex), or give a folder of processed tiles, named "
                    "reg001_X01_Y01_Z01.tif."
                )
            return read_raw(path, self.z)
        above = " Give the folder above it." if is_raw_folder(path) else ""
        raise ImageError(
            f"{path} holds no CODEX data: neither tiles named reg001_X01_Y01_Z01.tif nor folders "
            f"named Cyc1_reg1 with planes named 1_00001_Z001_CH1.tif.{above}"
        )

    def open_tile(self, tile: CodexTile) -> Image:
        """Return the image of a tile, without its place in the region."""
        image, *more = TiffReader(z=self.z, t="all").read(tile.path)
        if more:
            raise ImageError(f"{tile.path} holds {len(more) + 1} images; a CODEX tile is one.")
        names_file = names_beside(tile.path.parent, tile.path.resolve().parent.parent)
        if names_file is None:
            return image
        names, note = unique_names(fit_names(names_file, len(image.channels), tile.path.name))
        told = f"names from {names_file.name}"
        axes = [image.axes, *(n for n in (told, note) if n and n not in image.axes)]
        return attrs.evolve(image, channels=names, axes="; ".join(axes), color=False)

    def _tile(self, tile: CodexTile, sizes: _Sizes) -> Image:
        image = self.open_tile(tile)
        sizes.know(tile, image.shape)
        y0, x0 = sizes.origin(tile)
        return attrs.evolve(
            image, position=Position(tile.region, tile.row, tile.col, tile.z, y0, x0)
        )


class _Sizes:
    """The sizes of tiles, each read from its header once and only where it is needed."""

    def __init__(self, reader: CodexReader, tiles: Iterable[CodexTile]) -> None:
        self.reader = reader
        self.known: dict[CodexTile, tuple[int, int]] = {}
        self.at: dict[tuple[int, int, int], list[CodexTile]] = {}
        for tile in tiles:
            self.at.setdefault((tile.region, tile.row, tile.col), []).append(tile)

    def know(self, tile: CodexTile, size: tuple[int, int]) -> None:
        self.known[tile] = size

    def size(self, row: int, col: int, like: CodexTile) -> tuple[int, int]:
        """Return (height, width) of the tile at a place; ``like``'s own where there is none."""
        here = self.at.get((like.region, row, col))
        if not here:
            return self.known[like]
        # The best focus can lie at a different z in each tile.
        tile = next((tile for tile in here if tile.z == like.z), here[0])
        if tile not in self.known:
            try:
                self.known[tile] = self.reader.open_tile(tile).shape
            except ImageError:
                # It fails on its own, with its name; here it counts like one that is missing.
                self.known[tile] = self.known[like]
        return self.known[tile]

    def origin(self, tile: CodexTile) -> tuple[float, float]:
        """Return the coordinates (y, x) of the tile's first pixel in its region."""
        # Some programs count tiles from 0.
        numbers = [(row, col) for region, row, col in self.at if region == tile.region]
        first_row = min([1, *(row for row, _ in numbers)])
        first_col = min([1, *(col for _, col in numbers)])
        overlap = self.reader.overlap or 0
        y = sum(self.size(r, tile.col, tile)[0] - overlap for r in range(first_row, tile.row))
        x = sum(self.size(tile.row, c, tile)[1] - overlap for c in range(first_col, tile.col))
        return float(y), float(x)


def _place(tile: CodexTile) -> tuple[int, int, int, int]:
    return tile.region, tile.row, tile.col, tile.z


def _check_once(tiles: Sequence[CodexTile]) -> None:
    for one, other in itertools.pairwise(tiles):
        if _place(one) == _place(other):
            raise ImageError(
                f"{one.path.name} and {other.path.name} in {one.path.parent} are the same tile; "
                "take one of them out of the folder."
            )
