"""The panels in napari: cells coloured by a value, settings tried and saved."""

from __future__ import annotations

import shlex
import time
import tomllib

import numpy as np
import pandas as pd
import pytest

from cellseg_core.config import RunConfig
from cellseg_core.config_files import load_config
from cellseg_core.finished_run import FinishedRun

# napari, and what it is made of, use what is deprecated elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HOSTILE = '=SUM(A1) "<b>é/\\'


@pytest.fixture
def opened(viewer, finished):
    """Return a viewer that shows the first image of the run."""
    from cellseg_viewer.layers import layers_of
    from cellseg_viewer.offscreen import picture
    from cellseg_viewer.window import add_layers

    run = FinishedRun.read(finished)
    add_layers(viewer, layers_of(run, run.choose("a")).layers)
    picture(viewer, 120, 160)
    return viewer


def try_out(panel) -> None:
    """Press the button, and let Qt work until the trial is over."""
    from qtpy.QtWidgets import QApplication

    panel.run.native.click()
    until = time.monotonic() + 60
    while not panel.run.enabled and time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.005)
    assert panel.run.enabled


def test_pointing_at_a_cell_tells_its_values(opened) -> None:
    layer = opened.layers["cells"]
    row = layer.features.iloc[5]
    y, x = np.argwhere(np.asarray(layer.data) == row["index"])[0]
    status = str(layer.get_status(np.array([y, x]) * 0.5, world=True))
    assert f"area: {int(row['area'])}" in status
    assert "CD3: " in status


def test_cells_are_coloured_by_a_value_of_their_own_row(opened) -> None:
    from cellseg_viewer.colour_cells import ColourCells

    panel = ColourCells(opened)
    assert panel.cells.value.name == "cells"
    assert HOSTILE in panel.value.choices
    assert "index" not in panel.value.choices
    panel.value.value = "CD3"
    layer, cells = opened.layers["cells by CD3"], opened.layers["cells"]
    shown, labels = np.asarray(layer.data), np.asarray(cells.data)
    row = cells.features.iloc[7]
    assert np.all(shown[labels == row["index"]] == np.float32(row["CD3"]))
    assert np.all(np.isnan(shown[labels == 0]))
    assert np.allclose(layer.scale, 0.5)
    panel.colours.value = "magma"
    assert layer.colormap.name == "magma"
    panel.value.value = HOSTILE
    assert f"cells by {HOSTILE}" in opened.layers
    assert "cells by CD3" not in opened.layers
    panel.value.value = None
    assert len(opened.layers) == 5


def test_a_million_cells_are_coloured_at_once(viewer) -> None:
    from cellseg_viewer.colour_cells import ColourCells

    count = 10**6
    labels = np.arange(1, count + 1, dtype=np.int32).reshape(1000, 1000)
    table = pd.DataFrame({"index": np.arange(1, count + 1), "CD3": np.arange(count) / 7})
    viewer.add_labels(labels, features=table, name="cells")
    panel = ColourCells(viewer)
    panel.value.value = "CD3"
    shown = np.asarray(viewer.layers["cells by CD3"].data)
    assert np.array_equal(shown, (np.arange(count) / 7).astype("f4").reshape(1000, 1000))


def test_settings_are_tried_on_what_is_in_view(opened, finished) -> None:
    from cellseg_viewer.try_settings import TrySettings

    panel = TrySettings(opened)
    assert [layer.name for layer in panel.nuclear.value] == ["DAPI"]
    assert "watershed" in panel.segmenter.choices
    panel.segmenter.value = "watershed"
    panel.estimate.value = False
    panel.diameter.value = 10
    try_out(panel)
    for kind in ("nuclei", "cells"):
        ours = np.asarray(opened.layers[f"try: {kind}"].data)
        theirs = np.asarray(opened.layers[kind].data)
        assert np.array_equal(ours > 0, theirs > 0)
    cells = FinishedRun.read(finished).images["a"].cells
    assert f"{cells} cells in 160 x 120 px" in panel.told.value
    assert panel.run.enabled


def test_settings_are_tried_in_a_rectangle_and_again(opened) -> None:
    from cellseg_viewer.try_settings import TrySettings

    rectangle = np.array([[20, 30], [20, 50], [45, 50], [45, 30]]) * 0.5
    shapes = opened.add_shapes([rectangle], shape_type="rectangle", name="here")
    panel = TrySettings(opened)
    panel.segmenter.value = "watershed"
    panel.part.value = shapes
    for expand in (0, 1):
        panel.expand.value = expand
        try_out(panel)
    found = opened.layers["try: cells"]
    assert found.data.shape == (26, 21)
    assert np.allclose(found.translate, [10, 15])
    assert [layer.name for layer in opened.layers].count("try: cells") == 1
    inside = np.asarray(opened.layers["nuclei"].data)[20:46, 30:51] > 0
    assert np.count_nonzero(found.data) > np.count_nonzero(inside) > 0


def test_what_cannot_be_tried_is_told_in_words(viewer, monkeypatch) -> None:
    from cellseg_viewer.try_settings import TrySettings

    told: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_error", told.append)
    panel = TrySettings(viewer)
    panel.run.native.click()
    viewer.add_image(np.zeros((40, 40), np.uint8), name="nuclei")
    viewer.add_image(np.zeros((30, 40), np.uint8), name="membranes")
    panel.membrane.value = [viewer.layers["membranes"]]
    panel.run.native.click()
    panel.membrane.value = []
    shapes = viewer.add_shapes(name="here")
    panel.part.value = shapes
    panel.run.native.click()
    panel.segmenter.value = "watershed"
    viewer.add_image(np.zeros((40, 3000), np.uint8), name="wide")
    rectangle = np.array([[0, 0], [0, 2900], [30, 2900], [30, 0]])
    panel.nuclear.value = [viewer.layers["wide"]]
    panel.part.value = viewer.add_shapes([rectangle], shape_type="rectangle", name="long")
    try_out(panel)
    for text, expected in zip(
        told, ("choose the layer", "same size", "Draw a rectangle", "Zoom in"), strict=True
    ):
        assert expected in text
    assert panel.told.value == told[-1]


def test_saved_settings_are_those_of_the_panel_and_a_run_takes_them(opened, tmp_path) -> None:
    from cellseg_viewer.try_settings import TrySettings

    panel = TrySettings(opened)
    panel.nuclear.value = [opened.layers["DAPI"], opened.layers[HOSTILE]]
    panel.membrane.value = [opened.layers["CD3"]]
    panel.segmenter.value = "watershed"
    panel.estimate.value = False
    panel.diameter.value = 11.5
    panel.brightness.value = 1.5
    panel.expand.value = 3
    file = tmp_path / "my settings.toml"
    command = panel.write(file)
    assert RunConfig.from_mapping(load_config(file)) == RunConfig(
        nuclear=("DAPI", HOSTILE),
        membrane=("CD3",),
        segmenter="watershed",
        nuclear_diameter=11.5,
        brightness=1.5,
        expand=3,
    )
    words = shlex.split(command)
    assert words[:2] == ["cellseg", "run"]
    assert words[2].endswith("a.ome.tif")
    assert words[3:] == ["--config", str(file), "-o", "OUT"]
    panel.estimate.value = True
    panel.brightness.value = 1
    panel.write(file)
    saved = tomllib.loads(file.read_text(encoding="utf-8"))
    assert saved["brightness"] == "auto"
    assert "nuclear-diameter" not in saved


def test_napari_finds_the_reader_and_the_panels(opened, finished) -> None:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    names = {widget.display_name for widget in manager.iter_widgets()}
    assert {"cellseg: colour cells", "cellseg: try settings"} <= names
    readers = [reader.command for reader in manager.iter_compatible_readers(str(finished))]
    assert "cellseg-core.read_run" in readers
    opened.layers.clear()
    with pytest.warns(UserWarning, match="2 images"):
        opened.open(str(finished), plugin="cellseg-core")
    assert "cells" in opened.layers
