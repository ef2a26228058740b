"""A finished run as layers of napari: channels, nuclei and cells, with the table's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from cellseg_core.errors import CellsegError, ImageError
from cellseg_core.finished_result import input_of
from cellseg_core.finished_run import FinishedImage, FinishedRun
from cellseg_core.image import Image
from cellseg_core.label_files import Kind, labels_of_result
from cellseg_core.plugins import load_plugins
from cellseg_core.reading import read_image
from cellseg_viewer.pyramid import Level, levels_of
from cellseg_viewer.shown import colours, limits, visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KEY", "LayerData", "RunLayers", "channel_layers", "layers_of"]

LayerData = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, its attributes, its kind."""

KEY = "cellseg"
"""Where a layer's ``metadata`` has what the widgets look for."""

_LEFT_OUT = ("image", "region", "tile_row", "tile_col", "tile_z", "absolute_y", "absolute_x")


@attrs.frozen(eq=False)
class RunLayers:
    """The layers of one image of a run, and what the user should know of them."""

    layers: Sequence[LayerData]
    warnings: Sequence[str]


def layers_of(run: FinishedRun, done: FinishedImage, channels: Sequence[str] = ()) -> RunLayers:
    """Return the layers of one image: its channels, its nuclei and its cells.

    What is missing is left out, and told in the warnings.

    Parameters
    ----------
    channels
        Those that are visible at first. Default: see :func:`~cellseg_viewer.shown.visible`.

    Raises
    ------
    ChannelError
        If a channel in ``channels`` is not in the image.
    ImageError
        If nothing of the image can be shown.
    """
    layers: list[LayerData] = []
    warnings: list[str] = []
    try:
        image = input_of(run, done, load_plugins())
    except CellsegError as error:
        warnings.append(f"the channels are not shown: {error}")
    else:
        layers += channel_layers(image, done, channels)
    try:
        features = _features(done.frame())
    except CellsegError as error:
        features = None
        warnings.append(f"cells have no values: {error}")
    kinds: tuple[Kind, ...] = ("nuclei", "cells")
    for kind in kinds:
        try:
            layers.append(_label_layer(done, kind, features))
        except CellsegError as error:
            warnings.append(f"the {kind} are not shown: {error}")
    if not layers:
        raise ImageError(" ".join(warnings))
    return RunLayers(layers, warnings)


def channel_layers(
    image: Image, done: FinishedImage | None = None, asked: Sequence[str] = ()
) -> list[LayerData]:
    """Return a layer for each channel; pixels are read when they are looked at.

    The scale is in um where the pixel size is known.
    """
    decided: Mapping[str, Any] = {} if done is None else done.facts["decided"]
    nuclear = [name for name in decided.get("nuclear", ()) if name in image.channels]
    shown, colour = visible(image, nuclear, asked), colours(image.channels, nuclear)
    brightness = None if done is None else done.brightness
    layers = []
    for number, name in enumerate(image.channels):
        attributes = {
            "name": name,
            "visible": name in shown,
            "colormap": colour[name],
            "contrast_limits": limits(image, number, brightness),
            "blending": "additive",
            "rgb": False,
            "metadata": {KEY: {"image": image, "channel": name, "brightness": brightness}},
        }
        layers.append(_layer(levels_of(image, number), attributes, "image", image.pixel_size))
    return layers


def _layer(
    levels: Sequence[Level], attributes: dict[str, Any], kind: str, pixel_size: float | None
) -> LayerData:
    many = len(levels) > 1
    placed: dict[str, Any] = {"multiscale": many}
    if pixel_size is not None:
        placed |= {"scale": (pixel_size, pixel_size), "units": ("um", "um")}
    return (list(levels) if many else levels[0]), attributes | placed, kind


def _label_layer(done: FinishedImage, kind: Kind, features: pd.DataFrame | None) -> LayerData:
    path = labels_of_result(done.folder, kind)
    if path is None:
        raise ImageError(
            f"{done.folder / kind}.ome.tif (or .zarr) is not there. Run again with `labels` among "
            "the writers (--write)."
        )
    plane = read_image(path)
    if plane.shape != done.shape or len(plane.channels) != 1 or plane.dtype.kind not in "iu":
        raise ImageError(f"{path} is not the label image of this run. Run again with --fresh.")
    pixel_size = done.facts["input"]["pixel_size_um"]
    attributes: dict[str, Any] = {
        "name": kind,
        "visible": kind == "cells",
        "opacity": 0.5,
        "metadata": {KEY: {"run": str(done.folder)}},
    }
    if features is not None:
        attributes["features"] = features
    return _layer(levels_of(plane, 0), attributes, "labels", pixel_size)


def _features(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as napari's labels have it: the column ``index`` holds the ids."""
    found = frame.drop(columns=[name for name in _LEFT_OUT if name in frame])
    # A channel may be called so.
    found = found.rename(columns={"index": "index (channel)"})
    return found.rename(columns={"cell_id": "index"}).astype({"index": np.int64})
