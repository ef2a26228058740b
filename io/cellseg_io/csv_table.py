"""The table of cells as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import pandas as pd

    from cellseg_core.pipeline import Result
    from cellseg_core.table import CellTable

__all__ = ["CsvWriter"]

# Column of the original program, and ours.
_CELLSEG = {
    "Reg": "region",
    "Tile Row": "tile_row",
    "Tile Col": "tile_col",
    "Tile Z": "tile_z",
    "In-Tile Y": "y",
    "In-Tile X": "x",
    "Absolute Y": "absolute_y",
    "Absolute X": "absolute_x",
    "Cell Size": "area",
}


@attrs.frozen
class CsvWriter:
    """Writes ``cells.csv``: UTF-8, one row a cell, numbers that read back to the same bits.

    Parameters
    ----------
    style
        ``cellseg-core``: all columns. ``cellseg``: names and order of the original program
        (Lee et al. 2022), which has neither ids nor scores.
    """

    style: str = attrs.field(
        default="cellseg-core", validator=attrs.validators.in_(("cellseg-core", "cellseg"))
    )

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the table and return its path."""
        path = folder / "cells.csv"
        table = result.table
        frame = _original(table) if self.style == "cellseg" else table.to_pandas()
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
        return [path]


def _original(table: CellTable) -> pd.DataFrame:
    import pandas as pd

    columns = table.columns()
    channels = zip(table.channel_columns(_CELLSEG).values(), table.intensities.T, strict=True)
    return pd.DataFrame(
        {**{name: columns[ours] for name, ours in _CELLSEG.items()}, **dict(channels)}
    )
