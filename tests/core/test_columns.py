"""Units: every column of every table says what it is, in every format that has room for it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import attrs
import flowio
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cellseg_core import Image
from cellseg_core.columns import NO_UNIT, UNITS, describe
from cellseg_core.features import MORPHOLOGY
from cellseg_core.measure import measure
from cellseg_core.result import Result
from cellseg_core.table import CellTable
from cellseg_core.testing import WriterTests
from cellseg_io.csv_table import CsvWriter
from cellseg_io.fcs import FcsWriter
from cellseg_io.geojson import GeoJsonWriter
from cellseg_io.h5ad import to_anndata
from cellseg_io.parquet import ParquetWriter

# Names that begin, or end, like those of other columns.
CHANNELS = ("DAPI", "s", "t", "cell", "r", "area", "x:count", "perimeter")


def everything() -> CellTable:
    """Return a table with every column that there is."""
    labels = np.repeat(np.repeat([[1, 2], [3, 0]], 5, 0), 5, 1)
    pixels = np.random.default_rng(0).random((len(CHANNELS), *labels.shape))
    image = Image(pixels, channels=CHANNELS, pixel_size=0.5)
    parts = ("nucleus_p5", "ring_median", "nucleus_count", "p99.9")
    table = measure(image, labels, nuclei=labels, features=("all", *parts))
    return attrs.evolve(table, uncompensated=table.intensities)


def result() -> Result:
    one = WriterTests().result(channels=CHANNELS)
    return attrs.evolve(one, table=attrs.evolve(one.table, uncompensated=one.table.intensities))


def test_every_column_has_a_unit_and_a_sentence() -> None:
    table = everything()
    columns = describe(table)
    assert [one.name for one in columns] == list(table.to_pandas())
    for one in columns:
        assert one.unit in UNITS, one
        assert one.unit != "unknown", one
        assert one.meaning.endswith("."), one
    units = {one.name: one.unit for one in columns}
    of_morphology = {name for name in table.features if name != "area_um2"}
    for feature in MORPHOLOGY:
        own = {feature.name} if feature.name in units else {
            f"{feature.name}_{side}" for side in ("y0", "x0", "y1", "x1")
        }  # fmt: skip
        of_morphology -= own
        assert {units[name] for name in own} == {feature.unit.replace("1", NO_UNIT)}
    assert not of_morphology


def test_no_name_of_a_channel_changes_the_unit_of_another_column() -> None:
    units = {one.name: one.unit for one in describe(everything())}
    for name in ("score", "touches_edge", "cell_id", "region", "tile_row", "image"):
        assert units[name] == NO_UNIT, name
    assert units["s"] == units["area:mean"] == units["perimeter:mean:p90"] == "signal"
    assert units["area"] == units["perimeter"] == "px"
    assert units["x:count"] == units["x:count:uncompensated"] == "signal"
    assert units["x:count:count"] == units["s:nucleus_count"] == "px"


def test_columns_of_others_are_told_to_be_unknown() -> None:
    table = everything()
    count = len(table)
    more = attrs.evolve(
        table,
        features={**table.features, "clusters": np.zeros(count)},
        statistics={"texture": table.intensities, "area": table.intensities},
    )
    units = {one.name: one.unit for one in describe(more)}
    assert units["clusters"] == units["DAPI:texture"] == units["DAPI:area"] == "unknown"
    assert list(units) == list(more.to_pandas())


@pytest.mark.parametrize("style", ["cellseg-core", "cellseg"])
def test_csv_comes_with_the_units_of_its_columns(style: str, tmp_path: Path) -> None:
    table, about = CsvWriter(style=style).write(result(), tmp_path)
    with about.open(newline="", encoding="utf-8") as stream:
        told = list(csv.DictReader(stream))
    assert [row["column"] for row in told] == list(pd.read_csv(table))
    units = {row["column"]: row["unit"] for row in told}
    assert units["Cell Size" if style == "cellseg" else "area"] == "px"
    assert units["In-Tile Y" if style == "cellseg" else "y"] == "px"
    assert all(row["unit"] in UNITS and row["meaning"] for row in told)


def test_units_are_within_the_files_that_have_room_for_them(tmp_path: Path) -> None:
    one = result()
    units = {column.name: column.unit for column in describe(one.table)}
    (path,) = FcsWriter().write(one, tmp_path)
    text = flowio.FlowData(path).text
    known = {name: unit for name, unit in units.items() if unit != NO_UNIT}
    assert json.loads(text["cellseg_units"]) == known
    (path,) = ParquetWriter().write(one, tmp_path)
    for field in pq.read_schema(path):
        assert field.metadata[b"unit"].decode() == units[field.name], field.name
        assert field.metadata[b"meaning"].endswith(b".")
    (path,) = GeoJsonWriter().write(one, tmp_path)
    outlines = json.loads(path.read_text())
    assert outlines["cellseg"]["units"]["area"] == "px"
    measured = set(outlines["features"][0]["properties"]["measurements"])
    assert measured & set(known) == set(outlines["cellseg"]["units"])
    data = to_anndata(one)
    told = data.uns["cellseg"]["units"]
    assert told["X"] == told["layers"]["uncompensated"] == "signal"
    assert set(told["layers"]) == set(data.layers)
    assert {name: told[name] for name in data.obs if name in told} == {
        name: unit for name, unit in known.items() if name in data.obs
    }
