"""``cellseg run --write``: tables of one image and of all, and what is told where one cannot be."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

D = ("--nuclear", "DAPI", "--nuclear-diameter", 10, "--segmenter", "watershed", "--expand", 2)


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a package look as if it were not installed."""

    def fake(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("cellseg_core.plugins.version", fake)


def test_tables_of_all_images_hold_the_same_in_every_format(
    cellseg, write_image, tmp_path: Path
) -> None:
    write_image("in/one.ome.tif", ("DAPI", "CD3/CD4"))
    write_image("in/two.ome.tif", ("CD8", "DAPI", "CD3/CD4"), shape=(40, 40))
    out = tmp_path / "out"
    asked = ("--compensate", "--features", "median,bbox", "--write", "csv,parquet,h5ad")
    done = cellseg("run", tmp_path / "in", "-o", out, *D, *asked)
    assert done.status == 0, done.err
    frame = pd.read_csv(out / "cells.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(
        pd.read_parquet(out / "cells.parquet"), frame, check_exact=True, check_dtype=False
    )
    data = anndata.read_h5ad(out / "cells.h5ad")
    assert list(data.obs["image"]) == list(frame["image"])
    assert set(frame["image"]) == {"one", "two"}
    assert np.array_equal(data.obs["cell_id"], frame["cell_id"])
    for name in data.var_names:
        for layer, column in (
            ("compensated", name),
            ("uncompensated", f"{name}:uncompensated"),
            ("median", f"{name}:median"),
        ):
            values = data[:, name].layers[layer].ravel()
            assert np.array_equal(values, frame[column], equal_nan=True), column
    for image in ("one", "two"):
        assert (out / image / "cells.parquet").is_file()
        assert '"segmenter": "watershed"' in data.uns["cellseg"]["images"][image]["decided"]
    before = {path: path.read_bytes() for path in out.glob("cells.*")}
    (out / "cells.h5ad").unlink()
    cellseg("run", tmp_path / "in", "-o", out, *D, *asked)
    assert {path: path.read_bytes() for path in out.glob("cells.*")} == before
    cellseg("run", tmp_path / "in", "-o", out, *D, "--write", "csv")
    left = sorted(path.name for path in out.glob("cells.*"))
    assert left == ["cells.columns.csv", "cells.csv"], "old tables do not stay"


def test_a_format_that_cannot_be_written_is_told_before_any_work(
    cellseg, write_image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("anndata", monkeypatch)
    done = cellseg("run", write_image(), "-o", tmp_path / "out", *D, "--write", "csv,h5ad")
    assert done.status == 2
    assert "writer 'h5ad' needs anndata>=0.11, which is not installed" in done.err
    assert "pip install 'cellseg-core[anndata]'" in done.err
    assert not (tmp_path / "out").exists()
    shown = cellseg("plugins").out
    assert "pip install 'cellseg-core[anndata]'" in " ".join(shown.split())


@pytest.mark.parametrize("file", ["cells.h5ad", "cells.parquet"])
def test_a_damaged_table_of_an_image_is_named_with_the_fix(
    cellseg, write_image, tmp_path: Path, file: str
) -> None:
    out, asked = tmp_path / "out", (*D, "--write", file.partition(".")[2])
    image = write_image()
    assert cellseg("run", image, "-o", out, *asked).status == 0
    path = out / "image" / file
    path.write_bytes(b"\0" * path.stat().st_size)
    done = cellseg("run", image, "-o", out, *asked)
    assert done.status == 1
    assert f"{path} is damaged" in done.err
    assert "with --fresh" in done.err
    assert cellseg("run", image, "-o", out, *asked, "--fresh").status == 0
