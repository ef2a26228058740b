"""What is written as Parquet reads back with the same types and values."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellseg_core.result import Result
from cellseg_core.testing import WriterTests
from cellseg_io import parquet
from cellseg_io.parquet import ParquetWriter


class TestParquet(WriterTests):
    def make(self) -> ParquetWriter:
        return ParquetWriter()


def combined(folder: Path, *results: Result) -> Path:
    images = {}
    for number, one in enumerate(results):
        place = folder / str(number)
        place.mkdir()
        ParquetWriter().write(one, place)
        images[one.image.name] = SimpleNamespace(folder=place)
    (path,) = ParquetWriter().combine(SimpleNamespace(out=folder, images=images))
    return path


def test_every_column_reads_back_with_its_type(case: Result, tmp_path: Path) -> None:
    (path,) = ParquetWriter().write(case, tmp_path)
    frame = pd.read_parquet(path)
    expected = case.table.to_pandas()
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_columns_have_units_and_the_table_says_where_it_comes_from(
    make_result, tmp_path: Path
) -> None:
    (path,) = ParquetWriter().write(make_result(features="all", compensated=True), tmp_path)
    schema = pq.read_schema(path)
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    assert units["x"] == units["area"] == units["bbox_y0"] == units["nucleus_perimeter"] == "px"
    assert (units["area_um2"], units["orientation"], units["CD3:count"]) == ("um2", "rad", "px")
    assert units["CD3"] == units["CD3:uncompensated"] == units["CD3:p90"] == "signal"
    assert units["cell_id"] == units["eccentricity"] == units["image"] == "none"
    told = json.loads(schema.metadata[b"cellseg"])["small"]
    assert told["pixel_size_um"] == 0.5
    assert told["compensated"] is True
    assert told["decided"] == {"segmenter": "watershed", "brightness": {"levels": {"a/b": 2.0}}}


def test_images_of_different_panels_become_one_table(
    make_result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 5)
    one = make_result(("DAPI", "a/b"), name="one")
    none = make_result(("CD8",), name="none", count=0)
    other = make_result(("CD20", "DAPI"), name="other", pixel_size=None)
    path = combined(tmp_path, one, none, other)
    frame = pd.read_parquet(path)
    tables = [result.table.to_pandas() for result in (one, none, other)]
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    assert list(frame.columns) == columns
    pd.testing.assert_frame_equal(
        frame[:7], tables[0].reindex(columns=columns), check_exact=True, check_dtype=False
    )
    pd.testing.assert_frame_equal(
        frame[7:].reset_index(drop=True),
        tables[2].reindex(columns=columns),
        check_exact=True,
        check_dtype=False,
    )
    schema = pq.read_schema(path)
    assert schema.field("cell_id").type == pa.int64()
    assert list(json.loads(schema.metadata[b"cellseg"])) == ["none", "one", "other"]
    assert schema.field("x").metadata[b"unit"] == b"px"
    assert pq.ParquetFile(path).num_row_groups > 2
    again = path.read_bytes()
    assert ParquetWriter().combine(
        SimpleNamespace(
            out=tmp_path,
            images={str(n): SimpleNamespace(folder=tmp_path / str(n)) for n in range(3)},
        )
    ) == [path]
    assert path.read_bytes() == again
    assert not list(tmp_path.glob(".cellseg-*"))


def test_small_images_share_row_groups(make_result, tmp_path: Path) -> None:
    path = combined(tmp_path, *(make_result(name=f"core {n}") for n in range(4)))
    assert pq.ParquetFile(path).num_row_groups == 1
    assert np.array_equal(
        pq.read_table(path)["image"].to_numpy(), np.repeat([f"core {n}" for n in range(4)], 7)
    )
