"""What the names of processed CODEX tiles say: ``reg001_X02_Y04_Z08.tif``."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

__all__ = ["CodexTile", "as_tile", "find_tiles"]

_TILE = re.compile(
    r"reg(?P<region>\d+)_x(?P<col>\d+)_y(?P<row>\d+)(?:_z(?P<z>\d+))?(?:\.ome)?\.tiff?",
    re.IGNORECASE,
)


@attrs.frozen(order=True)
class CodexTile:
    """What the name of a processed CODEX tile says: X is the column and Y the row."""

    region: int
    row: int
    col: int
    z: int
    path: Path


def as_tile(path: Path) -> CodexTile | None:
    """Return what the file name says, or None if it is not a tile's.

    >>> tile = as_tile(Path("reg002_X02_Y04_Z08.tif"))
    >>> tile.region, tile.row, tile.col, tile.z
    (2, 4, 2, 8)
    """
    match = _TILE.fullmatch(path.name)
    if match is None:
        return None
    return CodexTile(
        int(match["region"]), int(match["row"]), int(match["col"]), int(match["z"] or 1), path
    )


def find_tiles(folder: Path) -> list[CodexTile]:
    """Return the processed tiles of a folder by region, row, column and z; no file is opened."""
    return sorted(tile for path in folder.iterdir() if (tile := as_tile(path)) is not None)
