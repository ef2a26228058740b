"""A finished run as layers: what is shown, where it lies, and what is told when it is missing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile

from cellseg_core import Image
from cellseg_core.errors import ChannelError, ImageError
from cellseg_core.finished_run import FinishedRun
from cellseg_core.normalize import Brightness
from cellseg_viewer.layers import channel_layers, layers_of
from cellseg_viewer.reader import get_reader
from cellseg_viewer.shown import limits

HOSTILE = '=SUM(A1) "<b>é/\\'


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of the run that may be spoilt."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def by_name(layers):
    return {attributes["name"]: (data, attributes, kind) for data, attributes, kind in layers}


def test_channels_nuclei_and_cells_come_with_their_scale_and_values(finished) -> None:
    run = FinishedRun.read(finished)
    found = layers_of(run, run.choose("b"))
    assert found.warnings == []
    layers = by_name(found.layers)
    assert list(layers) == ["DAPI", "CD3", HOSTILE, "nuclei", "cells"]
    pixels = tifffile.imread(finished.parent / "b.ome.tif")
    data, attributes, kind = layers["CD3"]
    assert kind == "image"
    assert np.array_equal(np.asarray(data), pixels[1])
    assert attributes["scale"] == (0.5, 0.5)
    assert attributes["visible"]
    assert layers["DAPI"][1]["colormap"] == "blue" != attributes["colormap"]
    # White of the nuclear channel is what it was segmented at.
    level = run.record["brightness"]["levels"]["DAPI"]
    assert layers["DAPI"][1]["contrast_limits"] == (0.0, level)
    data, attributes, kind = layers["cells"]
    assert kind == "labels"
    assert np.array_equal(np.asarray(data), tifffile.imread(finished / "b" / "cells.ome.tif"))
    features = attributes["features"]
    assert features["index"].tolist() == list(range(1, run.images["b"].cells + 1))
    assert {"DAPI", "CD3", HOSTILE, "area", "eccentricity"} <= set(features)
    assert not layers["nuclei"][1]["visible"]


def test_channels_that_are_asked_for_are_visible_alone(finished) -> None:
    run = FinishedRun.read(finished)
    layers = by_name(layers_of(run, run.choose(), ["cd3"]).layers)
    assert [name for name, layer in layers.items() if layer[1]["visible"]] == ["CD3", "cells"]
    with pytest.raises(ChannelError, match="did you mean 'CD3'"):
        layers_of(run, run.choose(), ["CD4"])


def test_of_many_channels_the_nuclear_and_two_more_are_visible() -> None:
    image = Image(np.zeros((9, 8, 8)), channels=tuple("ABCDEFGHI"))
    shown = [layer[1]["visible"] for layer in channel_layers(image)]
    assert shown == [True] * 3 + [False] * 6


def test_what_is_missing_is_told_and_the_rest_is_shown(copied) -> None:
    record = json.loads((copied / "run.json").read_text())
    for image in record["images"]:
        image["source"] = image["facts"]["input"]["path"] = "/moved/away.tif"
    (copied / "run.json").write_text(json.dumps(record))
    (copied / "a" / "cells.csv").unlink()
    run = FinishedRun.read(copied)
    found = layers_of(run, run.choose("a"))
    assert list(by_name(found.layers)) == ["nuclei", "cells"]
    assert "features" not in by_name(found.layers)["cells"][1]
    channels, values = found.warnings
    assert channels.startswith("the channels are not shown: /moved/away.tif does not exist")
    assert "`csv` among the writers" in values
    for kind in ("nuclei", "cells"):
        (copied / "a" / f"{kind}.ome.tif").unlink()
    with pytest.raises(ImageError, match="`labels` among the writers"):
        layers_of(run, run.choose("a"))


def test_another_image_in_the_place_of_the_input_is_not_shown(copied, tmp_path) -> None:
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((5, 6), np.uint8))
    record = json.loads((copied / "run.json").read_text())
    record["images"][0]["source"] = record["images"][0]["facts"]["input"]["path"] = str(other)
    (copied / "run.json").write_text(json.dumps(record))
    run = FinishedRun.read(copied)
    (warning,) = layers_of(run, run.choose("a")).warnings
    assert "other.tif is not the image that was done" in warning


def test_a_table_in_another_style_is_told(copied) -> None:
    (copied / "a" / "cells.csv").write_text("Reg,Cell Size\n1,20\n")
    run = FinishedRun.read(copied)
    (warning,) = layers_of(run, run.choose("a")).warnings
    assert "no column cell_id" in warning


def test_limits_are_finite_and_apart_for_any_channel() -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack([rng.normal(100, 10, (2000, 2000)), np.zeros((2000, 2000))]).astype("f4")
    pixels[0, 500:510] = np.nan
    image = Image(pixels, channels=("signal", "black"))
    low, high = limits(image, 0)
    assert 70 < low < 85
    assert 120 < high < 140
    assert limits(image, 1) == (0.0, 1.0)
    assert limits(Image(np.full((1, 3, 3), np.nan)), 0) == (0.0, 1.0)
    assert limits(image, 0, Brightness({"signal": 300.0}, factor=2)) == (0.0, 150.0)


def test_napari_is_given_the_folder_of_a_run_of_an_image_or_the_record(finished, tmp_path) -> None:
    read = get_reader(str(finished / "b"))
    assert read is not None
    assert [layer[1]["name"] for layer in read(str(finished / "b"))][-1] == "cells"
    for path in (finished, finished / "run.json"):
        read = get_reader(str(path))
        assert read is not None
        with pytest.warns(UserWarning, match="2 images, and the first, a, is shown"):
            assert len(read(str(path))) == 5


def test_other_folders_and_records_are_left_to_other_readers(finished, tmp_path) -> None:
    (tmp_path / "run.json").write_text('{"program": "another"}')
    (tmp_path / "image.tif").touch()
    paths = (tmp_path, tmp_path / "run.json", tmp_path / "image.tif", tmp_path / "no" / "folder")
    assert [get_reader(str(path)) for path in paths] == [None] * 4
    assert get_reader(str(finished / "cells.csv")) is None
    assert get_reader([str(finished), str(finished)]) is None


def test_an_image_that_is_not_in_the_run_is_named_with_the_nearest(finished) -> None:
    with pytest.raises(ImageError, match="no image 'c'; there are: a, b"):
        FinishedRun.read(finished).choose("c")
    with pytest.raises(ImageError, match="all failed"):
        FinishedRun(finished, {}, {}).choose()
