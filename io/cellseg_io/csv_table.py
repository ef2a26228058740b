"""The table of cells as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import pandas as pd

    from cellseg_core.pipeline import Result

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
        frame = result.table.to_pandas()
        if self.style == "cellseg":
            frame = _original(frame, list(result.table.channel_columns().values()))
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
        return [path]


def _original(frame: pd.DataFrame, channels: list[str]) -> pd.DataFrame:
    import pandas as pd

    columns = {name: frame[ours] for name, ours in _CELLSEG.items()}
    return pd.DataFrame({**columns, **{name: frame[name] for name in channels}})
