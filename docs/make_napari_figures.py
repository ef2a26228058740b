"""Draws the pictures of docs/napari.md: napari with a finished run, and with the panel on trial.

    python docs/make_napari_figures.py        # writes into docs/images

It needs no screen. The tissue is the one of `cellseg demo`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cellseg_core.finished_run import FinishedRun
from cellseg_viewer import offscreen

FOLDER = Path(__file__).parent / "images"
SIZE = (1360, 860)


def save(viewer: Any, file: str) -> None:
    """Write the window; Qt draws its panels, and OpenGL the canvas, which Qt leaves empty."""
    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    window = viewer.window._qt_window
    canvas = viewer.window._qt_viewer.canvas
    place = canvas.native.mapTo(window, QPoint(0, 0))
    height, width = canvas.size
    drawn = Image.fromarray(offscreen.picture(viewer, height, width)[..., :3])
    grabbed = window.grab().toImage().convertToFormat(window.grab().toImage().Format.Format_RGB888)
    pixels = np.frombuffer(grabbed.constBits().asarray(grabbed.sizeInBytes()), np.uint8)
    rows = pixels.reshape(grabbed.height(), grabbed.bytesPerLine())[:, : 3 * grabbed.width()]
    picture = Image.fromarray(rows.reshape(grabbed.height(), grabbed.width(), 3).copy())
    picture.paste(drawn.resize((width, height)), (place.x(), place.y()))
    picture.quantize(256).save(FOLDER / file, optimize=True)


def opened(run: FinishedRun) -> Any:
    """Return a window with the run."""
    import napari
    from qtpy.QtWidgets import QApplication

    from cellseg_viewer.layers import layers_of
    from cellseg_viewer.window import add_layers

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    add_layers(viewer, layers_of(run, run.choose()).layers)
    QApplication.processEvents()
    return viewer


def main() -> None:
    """Draw both."""
    offscreen.start()
    from qtpy.QtWidgets import QApplication

    from cellseg_viewer.colour_cells import ColourCells
    from cellseg_viewer.try_settings import TrySettings

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        # In a process of its own: Mesa and TensorFlow do not get along in one.
        subprocess.run([sys.executable, "-m", "cellseg_core", "demo", "-o", out], check=True)
        run = FinishedRun.read(out)

        viewer = opened(run)
        panel = ColourCells(viewer)
        viewer.window.add_dock_widget(panel, name="cellseg: colour cells")
        panel.value.value = next(name for name in panel.value.choices if name == "CD3")
        save(viewer, "napari-view.png")
        viewer.close()

        viewer = opened(run)
        viewer.layers.remove("nuclei")
        viewer.layers.remove("cells")
        trial = TrySettings(viewer)
        viewer.window.add_dock_widget(trial, name="cellseg: try settings")
        corners = np.array([[150, 150], [150, 380], [330, 380], [330, 150]])
        shapes = viewer.add_shapes(
            [corners * viewer.layers[0].scale],
            shape_type="rectangle",
            face_color="transparent",
            edge_color="white",
            edge_width=1,
            name="rectangle",
        )
        trial.part.value = shapes
        trial.run.native.click()
        while not trial.run.enabled:
            QApplication.processEvents()
            time.sleep(0.05)
        save(viewer, "napari-try.png")
        viewer.close()


if __name__ == "__main__":
    main()
