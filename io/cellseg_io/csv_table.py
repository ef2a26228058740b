"""The table of cells as CSV."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.columns import Column, describe
from cellseg_core.combine import combine_tables
from cellseg_core.overlapped import overlapped
from cellseg_core.store import atomic_file
from cellseg_io.files import damaged

if TYPE_CHECKING:
    import pyarrow as pa

    from cellseg_core.finished_run import FinishedRun
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["CsvWriter"]

_COLUMNS = "cells.columns.csv"
_ROWS = 2**16  # converted at a time

_FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001 - wide ones count in East Asian versions

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

    ``cells.columns.csv`` beside it has the unit and the meaning of each column.

    Names are written as they are, so that they read back. Spreadsheets run one that begins with
    ``=``, ``+``, ``-`` or ``@`` as a formula when the file is opened with a double click: a warning
    names it, and how to open the file.

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
        """Write the table and what its columns are, and return the paths."""
        path, about = folder / "cells.csv", folder / _COLUMNS
        table = result.table
        original = self.style == "cellseg"
        _warn_of_formulas([*table.channels, table.image])
        if original:
            _write(_original(table), None, path)
        else:
            _write(table.columns(), table.image, path)
        with about.open("w", encoding="utf-8", newline="") as stream:
            columns = _of_original(table) if original else describe(table)
            _write_columns(stream, map(attrs.astuple, columns))
        return [path, about]

    def combine(self, run: FinishedRun) -> list[Path]:
        """Write the cells of all images into one table, and return its path and its columns'."""
        path, about = run.out / "cells.csv", run.out / _COLUMNS
        folders = [image.folder for image in run.images.values()]
        combine_tables([folder / "cells.csv" for folder in folders], path)
        rows = [row for folder in folders for row in _read_columns(folder / _COLUMNS)]
        with atomic_file(about) as stream:
            _write_columns(stream, dict.fromkeys(rows))
        return [path, about]


def _write(columns: Mapping[str, NDArray[np.generic]], image: str | None, path: Path) -> None:
    """Write columns, behind the name of the image, by Arrow: pandas takes ten times as long."""
    import pyarrow as pa
    from pyarrow.csv import WriteOptions, write_csv

    names = [*(() if image is None else ("image",)), *columns]
    # Arrow quotes all texts or none.
    quoting = "needed" if any(mark in (image or "") for mark in '",\r\n') else "none"
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(names)
    size = len(next(iter(columns.values())))

    def converted(start: int) -> pa.Buffer:
        rows = [_arrow(values[start : start + _ROWS]) for values in columns.values()]
        if image is not None:
            rows.insert(0, _repeated(image, len(rows[0])))
        text = pa.BufferOutputStream()
        write_csv(
            pa.table(rows, names),
            text,
            WriteOptions(include_header=False, quoting_style=quoting),
        )
        return text.getvalue()

    with path.open("wb") as stream:
        stream.write(header.getvalue().encode())
        for text in overlapped(converted, range(0, size, _ROWS)):
            stream.write(text)


def _arrow(values: NDArray[np.generic]) -> pa.Array:
    """Return an array of Arrow; what is not a number is missing, flags are True and False.

    ``pyarrow.array`` does that too, and imports pandas first, which takes most of a second; so do
    its scalars.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def bits(flags: NDArray[Any]) -> pa.Buffer:
        return pa.py_buffer(np.packbits(flags, bitorder="little"))

    size, kind = len(values), pa.from_numpy_dtype(values.dtype)
    if values.dtype == bool:
        flags = pa.Array.from_buffers(kind, size, [None, bits(values)])
        return pc.call_function("utf8_capitalize", [flags.cast(pa.string())])
    known = bits(~np.isnan(values)) if values.dtype.kind == "f" else None
    return pa.Array.from_buffers(kind, size, [known, pa.py_buffer(np.ascontiguousarray(values))])


def _repeated(text: str, times: int) -> pa.Array:
    import pyarrow as pa

    data = text.encode()
    ends = np.arange(times + 1, dtype=np.int64) * len(data)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data * times)]
    return pa.Array.from_buffers(pa.large_string(), times, buffers)


def _write_columns(stream: IO[str], rows: Iterable[tuple[str, ...]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["column", "unit", "meaning"])
    writer.writerows(rows)


def _read_columns(path: Path) -> list[tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [tuple(row) for row in csv.reader(stream)][1:]
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path, error) from error


def _warn_of_formulas(names: Iterable[str]) -> None:
    formulas = [name for name in names if name.startswith(_FORMULA)]
    if formulas:
        warnings.warn(
            f"Excel takes names that begin with =, +, - or @ for formulas: {', '.join(formulas)}. "
            "Do not open cells.csv with a double click: import it by Data > From Text/CSV.",
            stacklevel=3,
        )


def _of_original(table: CellTable) -> list[Column]:
    known = {one.name: one for one in describe(table)}
    channels = zip(
        table.channel_columns(_CELLSEG).values(), table.channel_columns().values(), strict=True
    )
    names = {**_CELLSEG, **dict(channels)}
    return [attrs.evolve(known[ours], name=name) for name, ours in names.items()]


def _original(table: CellTable) -> dict[str, NDArray[np.generic]]:
    columns = table.columns()
    channels = zip(table.channel_columns(_CELLSEG).values(), table.intensities.T, strict=True)
    return {**{name: columns[ours] for name, ours in _CELLSEG.items()}, **dict(channels)}
