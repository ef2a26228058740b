"""The table of cells as FCS 3.0, for FlowJo, Cytobank, CellEngine and FlowKit."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from cellseg_core.errors import OutputError

if TYPE_CHECKING:
    from cellseg_core.pipeline import Result

__all__ = ["FcsWriter"]

_EXACT_IDS = 2**24


@attrs.frozen
class FcsWriter:
    """Writes ``cells.fcs``: one event a cell, one parameter for each numeric column of the table.

    Values are 32-bit floats, as the format's users expect, and otherwise exactly those of the
    table: nothing is rescaled, flipped or dropped. What the format cannot hold is changed and
    warned of: a missing value is written as 0 (a column without any value, such as the score of a
    segmenter that gives none, is left out), and a character outside ASCII by its nearest or its
    name. An image without cells gets no file, since a data set without events is refused by the
    programs that read the format.

    Raises
    ------
    OutputError
        If the ids are too large to be exact as 32-bit floats (16,777,216).
    """

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the table and return its path."""
        import fcswrite

        table = result.table
        if not len(table):
            return []
        if int(table.labels.max()) > _EXACT_IDS:
            raise OutputError(
                f"{table.image}: FCS holds ids up to {_EXACT_IDS:,} exactly; this image has "
                f"{int(table.labels.max()):,}. Leave fcs out of --write, or split the image."
            )
        columns = {
            name: np.asarray(values, np.float64)
            for name, values in table.columns().items()
            if not (values.dtype.kind == "f" and np.isnan(values).all())
        }
        left_out = [name for name in table.columns() if name not in (*columns, "score")]
        if left_out:
            warnings.warn(
                f"columns without any value are left out: {', '.join(left_out)}.", stacklevel=2
            )
        data = np.stack(list(columns.values()), axis=1)
        if np.abs(np.where(np.isnan(data), 0, data)).max() > np.finfo(np.float32).max:
            raise OutputError(
                f"{table.image}: FCS holds numbers up to 3.4e38, and a channel has larger ones. "
                "Leave fcs out of --write, or divide the image by a constant."
            )
        missing = np.isnan(data)
        if missing.any():
            names_in_order = np.array(list(columns))
            holes = names_in_order[missing.any(axis=0)].tolist()
            warnings.warn(
                f"{int(missing.sum())} missing values ({', '.join(holes)}) are written as 0.",
                stacklevel=2,
            )
            data = np.where(missing, 0, data)
        names = _ascii_names(list(columns))
        changed = [
            f"{old!r} as {new!r}" for old, new in zip(columns, names, strict=True) if old != new
        ]
        if changed:
            warnings.warn(f"FCS names are plain ASCII: {', '.join(changed)}.", stacklevel=2)
        path = folder / "cells.fcs"
        fcswrite.write_fcs(
            path,
            # A slash ends a value in the file; doubled, it stands for itself. Braces would be
            # taken for places to fill in.
            [_quoted(name) for name in names],
            data,
            text_kw_pr={f"$P{i}S": _quoted(name) for i, name in enumerate(names, start=1)},
            compat_chn_names=False,
            compat_negative=False,
            compat_percent=False,
        )
        return [path]


def _quoted(name: str) -> str:
    return name.replace("/", "//").replace("{", "{{").replace("}", "}}")


def _ascii_names(names: Sequence[str]) -> list[str]:
    """Return the names in printable ASCII, each still different from the others."""
    seen: set[str] = set()
    plain = []
    for name in names:
        ascii_name = "".join(map(_ascii, name)) or "unnamed"
        # A value may neither begin nor end with the delimiter of values.
        ascii_name = f"_{ascii_name}" if ascii_name.startswith("/") else ascii_name
        ascii_name = f"{ascii_name}_" if ascii_name.endswith("/") else ascii_name
        number, unique = 2, ascii_name
        while unique in seen:
            unique, number = f"{ascii_name}_{number}", number + 1
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
