"""What is written can be read back, by the programs that people use, to the same values."""

from __future__ import annotations

import warnings
from pathlib import Path

import attrs
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from PIL import Image as Picture

from cellseg_core.errors import ConfigurationError
from cellseg_core.result import Result
from cellseg_core.testing import WriterTests
from cellseg_io.csv_table import CsvWriter
from cellseg_io.fcs import FcsWriter
from cellseg_io.labels import LabelsWriter
from cellseg_io.ome_zarr import OmeZarrReader
from cellseg_io.ome_zarr.label_pyramid import write_label_pyramid
from cellseg_io.overlay import OverlayWriter


class TestCsv(WriterTests):
    def make(self) -> CsvWriter:
        return CsvWriter()


class TestLabels(WriterTests):
    def make(self) -> LabelsWriter:
        return LabelsWriter()


class TestLabelsAsZarr(WriterTests):
    def make(self) -> LabelsWriter:
        return LabelsWriter(format="zarr")


class TestOverlay(WriterTests):
    def make(self) -> OverlayWriter:
        return OverlayWriter()


HARD = ("a/b", "CD3 (ε)", "β-catenin", "{x}", "=1+1", "/lead", "x,y", 'q"t', "µm", "_a b?")


def result(channels: tuple[str, ...] = ("DAPI", "CD3")) -> Result:
    return WriterTests().result(channels=channels)


def test_csv_reads_back_to_the_same_bits(tmp_path: Path) -> None:
    one = result(HARD)
    with pytest.warns(UserWarning, match="begin with =, "):
        (path, _) = CsvWriter().write(one, tmp_path)
    frame = pd.read_csv(path, float_precision="round_trip")
    expected = one.table.to_pandas()
    assert list(frame.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_csv_warns_of_names_that_a_spreadsheet_would_run(make_result, tmp_path: Path) -> None:
    names = ("=SUM(A1)", "CD3=1", "+x", "-y", "@z")
    told = r"formulas: =SUM\(A1\), \+x, -y, @z, =cmd\. .* Data > From Text/CSV"
    with pytest.warns(UserWarning, match=told):
        CsvWriter().write(make_result(names, name="=cmd"), tmp_path)


def test_csv_has_the_original_program_s_columns_on_request(tmp_path: Path) -> None:
    (path, _) = CsvWriter(style="cellseg").write(result(), tmp_path)
    header = path.read_text().splitlines()[0]
    assert header == (
        "Reg,Tile Row,Tile Col,Tile Z,In-Tile Y,In-Tile X,Absolute Y,Absolute X,Cell Size,DAPI,CD3"
    )


def test_csv_has_compensated_and_uncompensated_values_side_by_side(tmp_path: Path) -> None:
    one = result()
    table = attrs.evolve(
        one.table, intensities=one.table.intensities / 2, uncompensated=one.table.intensities
    )
    (path, _) = CsvWriter().write(attrs.evolve(one, table=table), tmp_path)
    frame = pd.read_csv(path)
    assert list(frame.columns)[-4:] == ["DAPI", "DAPI:uncompensated", "CD3", "CD3:uncompensated"]
    assert np.allclose(frame["CD3"] * 2, frame["CD3:uncompensated"])


def test_labels_keep_ids_over_65535_type_and_pixel_size(tmp_path: Path) -> None:
    one = result()
    big = np.where(one.nuclei > 0, one.nuclei + 70_000, 0).astype(np.int32)
    nuclei, cells = LabelsWriter().write(attrs.evolve(one, nuclei=big), tmp_path)
    assert (nuclei.name, cells.name) == ("nuclei.ome.tif", "cells.ome.tif")
    with tifffile.TiffFile(nuclei) as file:
        assert file.is_ome
        assert file.pages[0].compression.name == "ADOBE_DEFLATE"
        assert np.array_equal(file.asarray(), big)
        assert file.asarray().dtype == np.int32
        assert 'PhysicalSizeX="0.5"' in (file.ome_metadata or "")
        assert 'PhysicalSizeXUnit="µm"' in (file.ome_metadata or "")
    assert np.array_equal(tifffile.imread(cells), one.cells)


def test_large_labels_are_tiled(tmp_path: Path) -> None:
    from cellseg_io.labels import _write

    labels = np.arange(1200 * 700, dtype=np.int32).reshape(1200, 700)
    _write(tmp_path / "x.ome.tif", labels, "x", None)
    with tifffile.TiffFile(tmp_path / "x.ome.tif") as file:
        assert file.pages[0].is_tiled
        assert np.array_equal(file.asarray(), labels)


def test_labels_as_zarr_are_a_pyramid_with_the_ids_and_the_pixel_size(tmp_path: Path) -> None:
    one = result()
    labels = np.random.default_rng(0).integers(0, 100_000, (2200, 3001)).astype(np.int32)
    labels[:600] = 0
    files = write_label_pyramid(tmp_path / "big.ome.zarr", labels, "big", 0.5)
    group = zarr.open_group(tmp_path / "big.ome.zarr", mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    assert [axis["unit"] for axis in scales["axes"]] == ["micrometer"] * 2
    steps = [1, 2, 4, 8]
    for level, step in zip(scales["datasets"], steps, strict=True):
        assert np.array_equal(group[level["path"]][:], labels[::step, ::step])
        assert level["coordinateTransformations"][0]["scale"] == [0.5 * step] * 2
    assert "image-label" in group.attrs["ome"]
    assert all(file.is_file() for file in files)
    again = LabelsWriter(format="zarr").write(one, tmp_path)
    assert {path.relative_to(tmp_path).parts[0] for path in again} == {
        "nuclei.ome.zarr",
        "cells.ome.zarr",
    }
    (image,) = OmeZarrReader().read(tmp_path / "nuclei.ome.zarr")
    assert image.pixel_size == 0.5
    assert np.array_equal(image.read(0), one.nuclei)


def test_large_labels_are_zarr_unless_another_format_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellseg_io.labels._LARGE", 40 * 50)
    assert (tmp_path / "nuclei.ome.zarr" / "zarr.json") in LabelsWriter().write(result(), tmp_path)
    names = [path.name for path in LabelsWriter(format="tiff").write(result(), tmp_path)]
    assert names == ["nuclei.ome.tif", "cells.ome.tif"]
    with pytest.raises(ConfigurationError, match="tiff, zarr or auto; got 'png'"):
        LabelsWriter(format="png")


def test_the_overlay_outlines_nuclei_on_the_image(tmp_path: Path) -> None:
    one = result()
    grown = np.maximum(one.nuclei, np.roll(one.nuclei, 1, axis=0))
    (path,) = OverlayWriter().write(attrs.evolve(one, cells=grown), tmp_path)
    picture = np.asarray(Picture.open(path))
    zoom = picture.shape[0] // 40
    assert picture.shape == (40 * zoom, 50 * zoom, 3)
    assert zoom > 1, "small nuclei are magnified"
    orange = (picture == (255, 170, 0)).all(axis=2)
    inside = one.nuclei.repeat(zoom, 0).repeat(zoom, 1) > 0
    assert orange.any()
    assert inside[orange].all(), "the outline lies on its own nucleus"
    assert not orange[zoom * 7 : zoom * 8, zoom * 7 : zoom * 8].any(), "the inside stays visible"
    assert (picture == (60, 160, 255)).all(axis=2).any()


def test_a_large_image_gives_a_picture_of_bounded_size() -> None:
    assert max(OverlayWriter(longest=64).draw(result()).shape) <= 64


def test_writers_warn_of_nothing_for_plain_names(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for writer in (CsvWriter(), FcsWriter(), LabelsWriter(), OverlayWriter()):
            writer.write(result(), tmp_path)
