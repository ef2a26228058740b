"""The table of cells as FCS 3.1, for FlowJo, Cytobank, CellEngine, FlowKit and flowCore."""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import OutputError
from cellseg_io.about import about, units
from cellseg_io.fcs_file import Parameter, write_fcs

if TYPE_CHECKING:
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

__all__ = ["FcsWriter"]

_EXACT_IDS = 2**24
_MILLION = 1_000_000


@attrs.frozen
class FcsWriter:
    """Writes ``cells.fcs``: one event a cell, one parameter for each numeric column of the table.

    Values are 32-bit floats, which every program reads, and otherwise exactly those of the table:
    nothing is rescaled, flipped or dropped. What the format cannot hold is changed and warned of: a
    missing value is written as 0, and a column without any value (such as the score of a
    segmenter that gives none) is left out. ``$PnS`` has the names of the table; ``$PnN`` has them
    in ASCII and without commas, as programs and the standard want them.

    Ids over 16,777,216 are not exact as 32-bit floats: then ``cell_id_millions`` and
    ``cell_id_rest`` stand in the place of ``cell_id``, which is
    ``1,000,000 * cell_id_millions + cell_id_rest``.

    An image without cells gets no file, since a data set without events is refused by the
    programs that read the format.

    Raises
    ------
    OutputError
        If a value is too large for a 32-bit float (3.4e38), or an id for two (1.6e13).
    """

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the table and return its path."""
        table = result.table
        if not len(table):
            return []
        columns = _kept(table)
        names = [name for name, _ in columns]
        short = _short_names(names)
        changed = [
            f"{old!r} as {new!r}" for old, new in zip(names, short, strict=True) if old != new
        ]
        if changed:
            warnings.warn(
                f"short names ($PnN) are plain ASCII without commas: {_some(changed)}. Full "
                "names are in $PnS.",
                stacklevel=2,
            )
        path = folder / "cells.fcs"
        parameters = [
            Parameter(plain, name, values)
            for plain, (name, values) in zip(short, columns, strict=True)
        ]
        write_fcs(path, parameters, _keywords(result))
        return [path]


def _kept(table: CellTable) -> list[tuple[str, NDArray[np.generic]]]:
    """Return the columns that the file has, and warn of values that it has not."""
    columns: list[tuple[str, NDArray[np.generic]]] = []
    left_out = []
    missing: dict[str, int] = {}
    for name, values in _columns(table):
        holes = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        if holes == len(table):
            left_out += [name] * (name != "score")
            continue
        if holes:
            missing[name] = holes
        columns.append((name, values))
        largest = np.nanmax(np.abs(values.astype(np.float64)))
        if largest > np.finfo(np.float32).max:
            raise OutputError(
                f"{table.image}: FCS holds numbers up to 3.4e38, and {name} has larger ones. "
                "Leave fcs out of --write, or divide the image by a constant."
            )
    if left_out:
        warnings.warn(f"columns without any value are left out: {_some(left_out)}.", stacklevel=3)
    if missing:
        warnings.warn(
            f"{sum(missing.values())} missing values ({_some(list(missing))}) are written as 0.",
            stacklevel=3,
        )
    return columns


def _columns(table: CellTable) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Give the columns; ids that are too large are warned of and split in two."""
    for name, values in table.columns().items():
        if name == "cell_id" and int(table.labels.max()) > _EXACT_IDS:
            if int(table.labels.max()) >= _EXACT_IDS * _MILLION:
                raise OutputError(
                    f"{table.image}: FCS holds ids up to 1.6e13, and the highest is "
                    f"{int(table.labels.max())}. Leave fcs out of --write, or number the cells "
                    "anew, for example with skimage.segmentation.relabel_sequential."
                )
            warnings.warn(
                f"ids go up to {int(table.labels.max()):,}, and numbers in FCS are exact up to "
                f"{_EXACT_IDS:,}: instead of cell_id there are cell_id_millions and cell_id_rest "
                f"(cell_id = {_MILLION:,} * cell_id_millions + cell_id_rest).",
                stacklevel=4,
            )
            yield "cell_id_millions", table.labels // _MILLION
            yield "cell_id_rest", table.labels % _MILLION
        else:
            yield name, values


def _keywords(result: Result) -> dict[str, str]:
    told = about(result)
    size = told["pixel_size_um"]
    return {
        "$CYT": "cellseg-core",
        # What FlowJo calls the sample: every file is called cells.fcs.
        "$FIL": f"{told['image']}.fcs",
        "$SRC": told["image"],
        "CELLSEG_VERSION": told["cellseg_core"],
        "CELLSEG_PIXEL_SIZE_UM": "unknown" if size is None else str(size),
        "CELLSEG_COMPENSATED": "yes" if told["compensated"] else "no",
        # By the name in $PnS; what is not here has no unit.
        "CELLSEG_UNITS": json.dumps(units(result.table)),
        "CELLSEG_DECIDED": json.dumps(told["decided"], sort_keys=True, default=str),
    }


def _some(names: Sequence[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")


def _short_names(names: Sequence[str]) -> list[str]:
    """Return the names in printable ASCII without commas, each still different from the others."""
    seen: set[str] = set()
    plain = []
    for name in names:
        short = "".join(map(_ascii, name)).replace(",", "_").strip() or "unnamed"
        number, unique = 2, short
        while unique in seen:
            unique, number = f"{short}_{number}", number + 1
        seen.add(unique)
        plain.append(unique)
    return plain


def _ascii(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else "_"
    plain = ""
    for part in unicodedata.normalize("NFKD", character):
        if part.isascii():
            plain += part
        elif not unicodedata.combining(part):
            # The last word of a letter's name: GREEK SMALL LETTER ALPHA.
            plain += unicodedata.name(part, "_").rsplit(" ", 1)[-1].lower()
    return plain or "_"
