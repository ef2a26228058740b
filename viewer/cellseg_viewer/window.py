"""The window of ``cellseg view``: a finished run in napari, or a picture of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cellseg_core.errors import ConfigurationError, MissingPackageError, OutputError
from cellseg_core.finished_run import FinishedImage, FinishedRun
from cellseg_core.store import output_error
from cellseg_viewer import offscreen
from cellseg_viewer.layers import LayerData, layers_of

__all__ = ["show"]

_INSTALL = "pip install 'cellseg-core[napari]'"
_LONG_EDGE = 1200  # px of a picture


def show(
    run: FinishedRun,
    image: FinishedImage,
    channels: Sequence[str],
    screenshot: Path | None,
    tell: Callable[[str], None],
) -> None:
    """Show one image of a run until the window is closed, or write a picture of it.

    Parameters
    ----------
    channels
        Those that are visible at first; none for the usual ones.
    screenshot
        A PNG file to write. No window is then shown.
    tell
        Called with what the user should know of.

    Raises
    ------
    MissingPackageError
        If napari is not installed, or there is nothing to draw on.
    ConfigurationError
        If there is no screen for a window, or the picture is no PNG.
    OutputError
        If the picture cannot be written.
    """
    if screenshot is not None:
        _check_place(screenshot)
    screen = offscreen.has_screen()
    if screenshot is None and not screen:
        raise ConfigurationError(
            "there is no screen to open a window on (over ssh: connect with ssh -X, or copy the "
            "results to your own computer). --screenshot FILE writes a picture instead."
        )
    _check_napari()
    if not screen:
        offscreen.start()
    found = layers_of(run, image, channels)
    for text in found.warnings:
        tell(f"{image.name}: {text}")
    import napari

    viewer = napari.Viewer(title=f"{image.name} of {run.out}", show=False)
    try:
        add_layers(viewer, found.layers)
        if screenshot is not None:
            _save(viewer, image.shape, screenshot)
            return
        from cellseg_viewer.colour_cells import ColourCells

        viewer.window.add_dock_widget(ColourCells(viewer), name="cellseg: colour cells")
        viewer.show()
        napari.run()
    finally:
        if screenshot is not None:
            viewer.close()


def add_layers(viewer: Any, layers: Sequence[LayerData]) -> None:
    """Add layers to a napari viewer, the cells drawn by their outlines."""
    from napari.layers import Layer

    for data in layers:
        layer = viewer.add_layer(Layer.create(*data))
        if data[2] == "labels":
            layer.contour = 1


def _check_place(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise ConfigurationError(f"--screenshot writes PNG: {path} should end in .png.")
    if not path.resolve().parent.is_dir():
        raise OutputError(
            f"{path} cannot be written: the folder {path.parent} does not exist. Make it first."
        )


def _check_napari() -> None:
    try:
        import napari  # noqa: F401
        from qtpy import QtWidgets  # noqa: F401
    except Exception as error:
        # Qt is missing, or a library of the system that it needs.
        raise MissingPackageError(
            f"napari, which shows the results, is not installed or does not start ({error}). "
            f"Install it with: {_INSTALL}"
        ) from error


def _save(viewer: Any, shape: tuple[int, int], path: Path) -> None:
    from PIL import Image

    scale = _LONG_EDGE / max(shape)
    height, width = (max(64, round(length * scale)) for length in shape)
    drawn = offscreen.picture(viewer, height, width)
    try:
        Image.fromarray(drawn[..., :3]).save(path)
    except OSError as error:
        raise output_error(path, error) from error
