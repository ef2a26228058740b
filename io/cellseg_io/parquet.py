"""The table of cells as Parquet, for pandas, polars, R and databases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cellseg_core.columns import describe
from cellseg_core.store import atomic_binary_file
from cellseg_io.about import about
from cellseg_io.files import damaged

if TYPE_CHECKING:
    from cellseg_core.finished_run import FinishedRun
    from cellseg_core.result import Result

__all__ = ["ParquetWriter"]

_ROWS = 2**17  # of a row group
_ABOUT = b"cellseg"


@attrs.frozen
class ParquetWriter:
    """Writes ``cells.parquet``: the columns of ``cells.csv`` with their types, and their units.

    The metadata of a column has its ``unit`` and its ``meaning``; those of the table have
    ``cellseg``: as JSON, for each image what is known of its numbers.
    """

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the table and return its path."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = result.table
        columns = table.columns()
        told_of = {one.name: {"unit": one.unit, "meaning": one.meaning} for one in describe(table)}
        fields = [pa.field("image", pa.string(), nullable=False, metadata=told_of["image"])]
        fields += [
            pa.field(name, pa.from_numpy_dtype(values.dtype), metadata=told_of[name])
            for name, values in columns.items()
        ]
        told = {table.image: about(result)}
        schema = pa.schema(fields, {_ABOUT: json.dumps(told, sort_keys=True, default=str)})
        path = folder / "cells.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            for start in range(0, len(table), _ROWS):
                rows = slice(start, start + _ROWS)
                arrays = [pa.array(values[rows]) for values in columns.values()]
                names = pa.repeat(table.image, len(table.labels[rows]))
                writer.write_table(pa.table([names, *arrays], schema=schema))
        return [path]

    def combine(self, run: FinishedRun) -> list[Path]:
        """Write the cells of all images into one table and return its path."""
        path = run.out / "cells.parquet"
        _concatenate([image.folder / "cells.parquet" for image in run.images.values()], path)
        return [path]


def _concatenate(files: Sequence[Path], target: Path) -> None:
    """Write the rows of all files, in order, with the columns of all; null where one has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    told: dict[str, Any] = {}
    for file in files:
        try:
            schemas.append(pq.read_schema(file))
            told |= json.loads(schemas[-1].metadata[_ABOUT])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise damaged(file, error) from error
    schema = pa.unify_schemas(
        [one.remove_metadata() for one in schemas], promote_options="permissive"
    ).with_metadata({_ABOUT: json.dumps(told, sort_keys=True)})
    with (
        atomic_binary_file(target) as stream,
        pq.ParquetWriter(stream, schema) as writer,
    ):
        for rows in _gathered(_row_groups(files), schema):
            writer.write_table(rows, row_group_size=_ROWS)


def _row_groups(files: Iterable[Path]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    for file in files:
        try:
            with pq.ParquetFile(file) as opened:
                for number in range(opened.num_row_groups):
                    yield opened.read_row_group(number)
        except (OSError, ValueError) as error:
            raise damaged(file, error) from error


def _gathered(tables: Iterable[Any], schema: Any) -> Iterator[Any]:
    """Give the tables with the columns of ``schema``, small ones together."""
    import pyarrow as pa

    waiting: list[Any] = []
    for table in tables:
        columns = [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in schema
        ]
        waiting.append(pa.table(columns, schema=schema))
        if sum(map(len, waiting)) >= _ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
