"""One table from the tables of all images."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

from cellseg_core.store import atomic_file, output_error

__all__ = ["combine_tables"]


def combine_tables(tables: Sequence[Path], target: Path) -> None:
    """Write the rows of CSV files, in order, into one file, which appears whole or not at all.

    Tables of different panels are combined too: the columns are those of all tables, in the order
    of their first appearance, and a cell is empty in columns that its image does not have.

    Raises
    ------
    OutputError
        If ``target`` cannot be written.
    """
    headers = [_header(table) for table in tables]
    columns = list(dict.fromkeys(column for header in headers for column in header))
    with atomic_file(target) as stream:
        csv.writer(stream, lineterminator="\n").writerow(columns)
        for table, header in zip(tables, headers, strict=True):
            with table.open(encoding="utf-8", newline="") as rows:
                if header == columns:
                    next(csv.reader(rows))
                    shutil.copyfileobj(rows, stream)
                else:
                    writer = csv.DictWriter(stream, columns, "", lineterminator="\n")
                    writer.writerows(csv.DictReader(rows))


def _header(table: Path) -> list[str]:
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            return next(csv.reader(stream), [])
    except OSError as error:
        raise output_error(table, error) from error
