"""What is written for scanpy and squidpy reads back to the table of cells."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import anndata
import attrs
import h5py
import numpy as np
import pytest

from cellseg_core.result import Result
from cellseg_core.testing import WriterTests
from cellseg_io import h5ad_concatenation
from cellseg_io.h5ad import H5adWriter
from cellseg_io.hdf5 import disk_checked


class TestH5ad(WriterTests):
    def make(self) -> H5adWriter:
        return H5adWriter()


def combined(folder: Path, *results: Result) -> anndata.AnnData:
    images = {}
    for number, one in enumerate(results):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        H5adWriter().write(one, place)
        images[one.image.name] = SimpleNamespace(folder=place)
    (path,) = H5adWriter().combine(SimpleNamespace(out=folder, images=images))
    assert path == folder / "cells.h5ad"
    return anndata.read_h5ad(path)


def test_every_column_reads_back(case: Result, tmp_path: Path) -> None:
    (path,) = H5adWriter().write(case, tmp_path)
    data = anndata.read_h5ad(path)
    table, columns = case.table, case.table.columns()
    names = table.channel_columns()
    assert list(data.var_names) == list(table.channels)
    assert list(data.var["column"]) == list(names.values())
    assert data.X.dtype == np.float64
    found = {name: data.obs[name].to_numpy() for name in data.obs if name != "image"}
    for index, name in enumerate(names.values()):
        found[name] = data.X[:, index]
        for layer, values in data.layers.items():
            if layer != "compensated":
                found[f"{name}:{layer}"] = values[:, index]
    assert set(found) == set(columns)
    for name, values in columns.items():
        assert np.array_equal(found[name], values, equal_nan=values.dtype.kind == "f"), name
    assert data.obs["cell_id"].dtype == np.int64
    assert list(data.obs_names) == [f"{table.image}_{n}" for n in table.labels]
    assert list(data.obs["image"].cat.categories) == [table.image]
    assert np.array_equal(data.obsm["spatial"], data.obs[["absolute_x", "absolute_y"]])
    if table.uncompensated is not None:
        assert np.array_equal(data.layers["compensated"], data.X)


def test_sizes_and_provenance_are_kept(make_result, tmp_path: Path) -> None:
    one, unknown = make_result(), make_result(name="unknown", pixel_size=None)
    both = combined(tmp_path, one, unknown).uns["cellseg"]
    assert both["version"]
    assert both["units"]["area"] == both["units"]["absolute_x"] == "px"
    assert both["images"]["small"]["pixel_size_um"] == 0.5
    assert "pixel_size_um" not in both["images"]["unknown"]
    assert json.loads(both["images"]["small"]["decided"]) == {
        "segmenter": "watershed",
        "brightness": {"levels": {"a/b": 2.0}},
    }


def test_slashes_open_no_folders_in_the_file(make_result, tmp_path: Path) -> None:
    one = make_result(("CD3/CD4", "."), name="a/b")
    table = attrs.evolve(one.table, features={"size/um": np.arange(7)})
    (path,) = H5adWriter().write(attrs.evolve(one, table=table), tmp_path)
    data = anndata.read_h5ad(path)
    assert list(data.var_names) == ["CD3/CD4", "."]
    assert np.array_equal(data.obs["size%2Fum"], np.arange(7))
    assert list(data.uns["cellseg"]["images"]) == ["a%2Fb"]
    assert set(data.obs["image"]) == {"a/b"}


def test_images_of_different_panels_become_one_file(
    make_result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h5ad_concatenation, "_VALUES", 9)
    one = make_result(("DAPI", "a/b"), name="one", features="median", compensated=True)
    none = make_result(("CD8",), name="none", count=0)
    other = make_result(("CD20", "DAPI"), name="other", pixel_size=None)
    data = combined(tmp_path, one, none, other)
    assert list(data.var_names) == ["DAPI", "a/b", "CD8", "CD20"]
    nan = np.full(7, np.nan)
    first, last = one.table.intensities.T, other.table.intensities.T
    expected = np.stack([[first[0], first[1], nan, nan], [last[1], nan, nan, last[0]]])
    assert np.array_equal(data.X.reshape(2, 7, 4), expected.transpose(0, 2, 1), equal_nan=True)
    assert np.array_equal(data.layers["median"][:7, :2], one.table.statistics["median"])
    assert np.isnan(data.layers["median"][7:]).all()
    assert set(data.layers) == {"compensated", "median", "uncompensated"}
    assert list(data.obs["image"]) == ["one"] * 7 + ["other"] * 7
    assert list(data.obs["image"].cat.categories) == ["one", "other"], "squidpy takes each in turn"
    assert data.obs["cell_id"].dtype == np.int64
    assert np.isnan(data.obs["area_um2"][7:]).all()
    assert data.obs_names.is_unique
    assert not list(tmp_path.glob(".cellseg-*"))
    again = (tmp_path / "cells.h5ad").read_bytes()
    combined(tmp_path, one, none, other)
    assert (tmp_path / "cells.h5ad").read_bytes() == again


def test_images_without_any_cell_become_one_file(make_result, tmp_path: Path) -> None:
    data = combined(tmp_path, *(make_result(name=name, count=0) for name in "ab"))
    assert data.shape == (0, 2)
    assert list(data.var_names) == ["DAPI", "CD3"]


def test_the_file_holds_no_times(make_result, tmp_path: Path) -> None:
    (path,) = H5adWriter().write(make_result(features="all", compensated=True), tmp_path)

    def untimed(_name: str, item: h5py.Group | h5py.Dataset) -> None:
        assert not h5py.h5o.get_info(item.id).mtime

    with h5py.File(path) as file:
        file.visititems(untimed)


def test_a_full_disk_is_an_error_of_the_disk(make_result, tmp_path: Path, monkeypatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with pytest.raises(OSError, match="No space left") as raised:
        H5adWriter().write(make_result(), tmp_path)
    assert raised.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_what_hdf5_says_of_a_full_disk_is_understood(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), disk_checked(tmp_path, 0):
        raise RuntimeError("file write failed: errno = 28, error message = 'No space left'")
    with pytest.raises(RuntimeError, match="another"), disk_checked(tmp_path, 0):
        raise RuntimeError("another fault, errno = 5")
