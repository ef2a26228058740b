"""What of the layers of napari a trial looks at: which image, and which part of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_core.image import Image
from cellseg_core.normalize import Brightness
from cellseg_core.tiling import Box
from cellseg_viewer.layers import KEY

__all__ = ["box_of_shape", "box_of_view", "image_of", "levels_known", "source_of"]


@attrs.frozen(eq=False)
class _Planes:
    """The full size of some layers as one array (C, Y, X)."""

    arrays: Sequence[Any]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def __getitem__(self, key: tuple[int, slice, slice]) -> NDArray[Any]:
        channel, rows, columns = key
        return np.asarray(self.arrays[channel][rows, columns])


def image_of(layers: Sequence[Any]) -> Image:
    """Return image layers of napari as one image; a channel has the name of its layer.

    Of layers that cellseg made, channels have the names that they have in the file.

    Raises
    ------
    ConfigurationError
        If there is none, they differ in size, or are not planes (Y, X).
    """
    if not layers:
        raise ConfigurationError("choose the layer that shows the nuclei.")
    arrays = [layer.data[0] if layer.multiscale else layer.data for layer in layers]
    for layer, array in zip(layers, arrays, strict=True):
        if len(array.shape) != 2 or array.shape != arrays[0].shape:
            raise ConfigurationError(
                f"layers of one image are planes (y, x) of the same size; {layer.name!r} has the "
                f"shape {tuple(array.shape)}, and {layers[0].name!r} {tuple(arrays[0].shape)}. "
                "Split a stack by a right click on its layer."
            )
    height, width = (int(length) for length in arrays[0].shape)
    known = _known(layers[0])
    return Image(
        _Planes(arrays, (len(arrays), height, width), np.result_type(*(a.dtype for a in arrays))),
        channels=[str(_known(layer).get("channel", layer.name)) for layer in layers],
        pixel_size=known["image"].pixel_size if "image" in known else _pixel_size(layers[0]),
        name=known["image"].name if "image" in known else str(layers[0].name),
    )


def levels_known(layers: Sequence[Any]) -> Brightness | None:
    """Return the brightness scale of the run that the layers come from, if it has them all."""
    known = [_known(layer) for layer in layers]
    scale: Brightness | None = known[0].get("brightness") if known else None
    if scale is None or any(one.get("channel") not in scale.levels for one in known):
        return None
    return scale


def source_of(layer: Any) -> str | None:
    """Return the path or address of what a layer shows, where it is known."""
    known = _known(layer)
    if "image" in known:
        return str(known["image"].source)
    path = getattr(layer.source, "path", None)
    return None if path is None else str(path)


def box_of_view(layer: Any) -> Box:
    """Return the part of a layer that is in the field of view, in px of its full size."""
    corners = np.asarray(layer.corner_pixels, float)[:, -2:]
    corners[1] += 1
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors)[layer.data_level][-2:]
    return _box(corners[0], corners[1])


def box_of_shape(layer: Any, shapes: Any) -> Box:
    """Return the part of a layer that the selected shape, or the last one, surrounds.

    Raises
    ------
    ConfigurationError
        If there is no shape.
    """
    if not len(shapes.data):
        raise ConfigurationError(f"{shapes.name!r} has no shape. Draw a rectangle.")
    chosen = sorted(shapes.selected_data) or [len(shapes.data) - 1]
    corners = [
        layer.world_to_data(shapes.data_to_world(corner))[-2:] for corner in shapes.data[chosen[-1]]
    ]
    return _box(np.min(corners, axis=0), np.max(corners, axis=0) + 1)


def _box(low: Any, high: Any) -> Box:
    y0, x0 = (max(0, math.floor(value)) for value in low)
    y1, x1 = (math.ceil(value) for value in high)
    return Box(y0, max(y0, y1), x0, max(x0, x1))


def _known(layer: Any) -> dict[str, Any]:
    found: dict[str, Any] = layer.metadata.get(KEY, {})
    return found


def _pixel_size(layer: Any) -> float | None:
    """Return the edge of a pixel in um, where the layer has a unit of length."""
    import pint

    try:
        edge = (float(layer.scale[-1]) * layer.units[-1]).to("micrometer")
    except (AttributeError, TypeError, ValueError, pint.DimensionalityError):
        return None
    return float(edge.magnitude)
