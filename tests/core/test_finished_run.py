"""Reading back what a run left."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cellseg_core import Image
from cellseg_core.batch import run_batch
from cellseg_core.config import RunConfig
from cellseg_core.errors import ImageError
from cellseg_core.finished_run import FinishedRun, _intensity_columns


@pytest.fixture
def out(tmp_path):
    import tifffile

    y, x = np.mgrid[:80, :100] % 12 - 6
    nuclei = 900 * (y**2 + x**2 < 20)
    planes = np.stack([nuclei, 50 + 3 * x**2 + nuclei // 9]).astype(np.uint16)
    path = tmp_path / "image.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "area"]}}
    tifffile.imwrite(path, planes, ome=True, photometric="minisblack", metadata=metadata)
    config = RunConfig(
        segmenter="watershed",
        nuclear_diameter=8,
        expand=2,
        compensate=True,
        features=("shape", "median"),
        write=("csv", "labels"),
    )
    run_batch([path], tmp_path / "out", config)
    return tmp_path / "out"


def test_labels_and_table_come_back_as_they_were_measured(out) -> None:
    from cellseg_core.measure import measure

    image = FinishedRun.read(out).images["image"]
    table = image.table()
    nuclei, cells = image.labels(), image.labels("cells")
    assert image.shape == nuclei.shape == (80, 100)
    assert (cells > 0).sum() > (nuclei > 0).sum() > 0
    assert table.labels.tolist() == list(range(1, image.cells + 1))
    assert table.channels == ("DAPI", "area")
    import tifffile

    pixels = tifffile.imread(out.parent / "image.ome.tif")
    again = measure(Image(pixels, channels=table.channels), cells)
    assert table.uncompensated is not None
    assert np.array_equal(table.uncompensated, again.intensities)
    assert not np.array_equal(table.intensities, again.intensities)
    assert np.array_equal(table.areas, again.areas)
    assert np.array_equal(table.centroids, again.centroids)
    assert image.brightness.levels["DAPI"] == 900


def test_a_feature_with_the_name_of_a_channel_is_not_taken_for_it() -> None:
    header = ["image", "area", "eccentricity", "eccentricity:mean", "eccentricity:mean:median"]
    assert _intensity_columns(header, ["eccentricity"]) == ["eccentricity:mean"]
    with pytest.raises(LookupError, match="CD3"):
        _intensity_columns(header, ["CD3"])


def test_what_is_missing_or_damaged_is_named_with_the_fix(out, tmp_path) -> None:
    with pytest.raises(ImageError, match="not the folder of a run"):
        FinishedRun.read(tmp_path)
    image = FinishedRun.read(out).images["image"]
    (out / "image" / "nuclei.ome.tif").write_bytes(b"II*\0")
    with pytest.raises(ImageError, match=r"nuclei\.ome\.tif"):
        image.labels()
    (out / "image" / "cells.ome.tif").unlink()
    with pytest.raises(ImageError, match="`labels` among the writers"):
        image.labels("cells")
    (out / "image" / "cells.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ImageError, match="no column cell_id: it is in another style"):
        image.table()
    (out / "image" / "cells.csv").write_text("cell_id,b\n1,2\n")
    with pytest.raises(ImageError, match=r"cells\.csv cannot be read: .*DAPI"):
        image.table()
    record = json.loads((out / "run.json").read_text())
    for change in (
        {"name": "../image"},
        {"facts": {**record["images"][0]["facts"], "input": None}},
        {"facts": {**record["images"][0]["facts"], "input": {"shape": "abc"}}},
    ):
        images = [{**record["images"][0], **change}]
        (out / "run.json").write_text(json.dumps({**record, "images": images}))
        with pytest.raises(ImageError, match=r"run\.json is damaged"):
            FinishedRun.read(out)
    for damaged in ("{}", "[]", '{"images": []}', '{"images'):
        (out / "run.json").write_text(damaged)
        with pytest.raises(ImageError, match=r"run\.json is damaged"):
            FinishedRun.read(out)
