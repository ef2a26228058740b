"""How channels are shown at first: which of them, in what colours, between which values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.image import Image
from cellseg_core.normalize import Brightness

__all__ = ["colours", "limits", "visible"]

_COLOURS = ("green", "magenta", "yellow", "cyan", "red", "bop orange", "bop purple")
_NUCLEAR = "blue"
_MOST_VISIBLE = 3
_WINDOW = 512  # px
_WINDOWS = 3  # on each axis
_LOW, _HIGH = 1.0, 99.8  # percentiles


def visible(image: Image, nuclear: Sequence[str], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the channels that are visible at first: those asked for, or up to three.

    Of more than three channels it is the nuclear ones alone, and as many others as there is room.

    Raises
    ------
    ChannelError
        If one that is asked for is not there; the message has the nearest.
    """
    if asked:
        return tuple(image.channels[image.index(name)] for name in asked)
    others = [name for name in image.channels if name not in nuclear]
    return (*nuclear, *others[: max(0, _MOST_VISIBLE - len(nuclear))])


def colours(channels: Sequence[str], nuclear: Sequence[str]) -> dict[str, str]:
    """Return a colour of napari for each channel.

    >>> colours(["DAPI", "CD3", "CD20"], ["DAPI"])
    {'DAPI': 'blue', 'CD3': 'green', 'CD20': 'magenta'}
    """
    others = [name for name in channels if name not in nuclear]
    found = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(others)}
    return {name: found.get(name, _NUCLEAR) for name in channels}


def limits(image: Image, channel: int, brightness: Brightness | None = None) -> tuple[float, float]:
    """Return the values of a channel that are shown as black and as white.

    White of the channels that were segmented is that of the brightness scale; the rest is between
    percentiles of the smallest level of the file, or of nine windows, so that a whole slide is not
    read.
    """
    levels: Mapping[str, float] = {} if brightness is None else brightness.levels
    name = image.channels[channel]
    if brightness is not None and levels.get(name, 0) > 0:
        return 0.0, levels[name] / brightness.factor
    pixels = _some(image, channel)
    pixels = pixels[np.isfinite(pixels)]
    if not pixels.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(pixels, (_LOW, _HIGH)))
    if high <= low:
        low, high = float(pixels.min()), float(pixels.max())
    return (low, high) if high > low else (low, low + 1)


def _some(image: Image, channel: int) -> NDArray[Any]:
    """Return some pixels (n,) of a channel."""
    most = (_WINDOW * _WINDOWS) ** 2
    if math.prod(image.shape) <= most:
        return image.read(channel).ravel()
    smaller = [level for level in image.levels if math.prod(level.shape[1:]) <= most]
    if smaller:
        return np.asarray(smaller[0][channel, :, :]).ravel()
    parts = [
        image.read(channel, rows, columns).ravel()
        for rows in _spread(image.shape[0])
        for columns in _spread(image.shape[1])
    ]
    return np.concatenate(parts)


def _spread(length: int) -> list[slice]:
    """Return windows that lie evenly over an axis."""
    size = min(_WINDOW, length)
    starts = np.linspace(0, length - size, _WINDOWS).astype(int)
    return [slice(int(start), int(start) + size) for start in dict.fromkeys(starts.tolist())]
