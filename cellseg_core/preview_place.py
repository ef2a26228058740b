"""Where in an image a preview looks: at many nuclei, away from the edge and from debris."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cellseg_core.diameter import is_bright_field
from cellseg_core.errors import ConfigurationError
from cellseg_core.scaled import ScaledImage
from cellseg_core.tiling import Box

__all__ = ["crop_at", "crop_edge", "find_crop"]

_DIAMETERS = 14  # nuclei side by side in a crop
_EDGES = (64, 1024)  # px
_SMALLEST, _LARGEST = 32, 4096
_GRID = 48  # places along an axis
_LOOKED_AT = 16
_DENSE = 0.75  # of the windows looked at have fewer nuclei


def crop_edge(diameter: float, size: int | None) -> int:
    """Return the edge of a crop in px: ``size``, or what shows 14 nuclei side by side.

    Raises
    ------
    ConfigurationError
        If the size is not from 32 to 4096 px.
    """
    if size is None:
        return int(np.clip(round(_DIAMETERS * diameter), *_EDGES))
    if not _SMALLEST <= size <= _LARGEST:
        raise ConfigurationError(
            f"--size is from {_SMALLEST} to {_LARGEST} px, so that there is something to see; got "
            f"{size}. Leave it out to see about {_DIAMETERS} nuclei side by side."
        )
    return size


def crop_at(centre: tuple[float, float], shape: tuple[int, int], edge: int) -> Box:
    """Return a crop around a point (y, x), inside the image; smaller if the image is.

    Raises
    ------
    ConfigurationError
        If the point is not in the image.

    >>> crop_at((5, 50), (100, 100), 40)
    Box(y0=0, y1=40, x0=30, x1=70)
    """
    (y, x), (height, width) = centre, shape
    if not (0 <= y < height and 0 <= x < width):
        raise ConfigurationError(
            f"--at {y:g},{x:g} is not in the image, which has {height} rows and {width} columns: "
            f"--at Y,X is from 0,0 to {height - 1},{width - 1}, row first."
        )
    edges = []
    for at, length in zip(centre, shape, strict=True):
        start = max(0, min(round(at - edge / 2), length - edge))
        edges += [start, min(start + edge, length)]
    return Box(*edges)


def find_crop(scaled: ScaledImage, sample: NDArray[np.float32], diameter: float, edge: int) -> Box:
    """Return a crop with more nuclei than most.

    Up to 16 places are looked at, chosen evenly over the signal of the image, so that neither empty
    glass nor only the brightest debris is among them; of these, the one that has more nuclei than
    three quarters. Places at the edge of the image are left out where there are others.

    Parameters
    ----------
    sample
        What ``scaled.sample()`` returned.
    diameter
        Of nuclei, in px.
    edge
        Of the crop, in px.
    """
    shape = scaled.shape
    dark = is_bright_field(sample[0, ::4, ::4])
    signal = 1 - sample[0] if dark else sample[0]
    starts = [_starts(length, edge, diameter) for length in shape]
    tall, wide = (min(edge, length) for length in shape)
    boxes = [Box(y, y + tall, x, x + wide) for y in starts[0] for x in starts[1]]
    totals = _totals(signal, boxes, shape)
    order = np.argsort(-totals, kind="stable")
    share = np.cumsum((totals - totals.min())[order], dtype=np.float64)
    places = share[-1] * (np.arange(_LOOKED_AT) + 0.5) / _LOOKED_AT
    chosen: dict[int, None] = dict.fromkeys(order[np.searchsorted(share, places)].tolist())
    least = _threshold(signal)
    counts: list[tuple[int, int]] = []
    for place in chosen:
        plane = scaled.read(*boxes[place].slices)[0]
        counts.append((_count(1 - plane if dark else plane, diameter, least), place))
    counts.sort()
    _, place = counts[math.floor(_DENSE * (len(counts) - 1))]
    return boxes[place]


def _starts(length: int, edge: int, diameter: float) -> list[int]:
    """Return where crops begin along an axis, every half crop at least, away from the edge."""
    room = length - edge
    if room <= 0:
        return [0]
    margin = min(room // 2, math.ceil(2 * diameter))
    number = min(_GRID, max(1, math.ceil(2 * (room - 2 * margin) / edge) + 1))
    return sorted(set(np.linspace(margin, room - margin, number).astype(int).tolist()))


def _totals(
    signal: NDArray[np.float32], boxes: list[Box], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the signal in each box; ``signal`` is a thinned image of ``shape``."""
    sums = np.zeros([length + 1 for length in signal.shape])
    sums[1:, 1:] = signal.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    corners = np.array([(box.y0, box.y1, box.x0, box.x1) for box in boxes])
    y0, y1, x0, x1 = (
        np.ceil(corners[:, n] * (signal.shape[n // 2] / shape[n // 2])).astype(int)
        for n in range(4)
    )
    totals: NDArray[np.float64] = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return totals


def _threshold(signal: NDArray[np.float32]) -> float:
    """Return what nuclei are brighter than, by Otsu's threshold of the square root."""
    from skimage.filters import threshold_otsu

    lifted = np.sqrt(signal)
    return float(threshold_otsu(lifted)) ** 2 if lifted.min() < lifted.max() else 0.0


def _count(plane: NDArray[np.float32], diameter: float, least: float) -> int:
    """Return the number of blobs as large as nuclei that are brighter than ``least``."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(plane, diameter / 5)
    highest = ndimage.maximum_filter(smooth, max(3, round(0.7 * diameter)))
    return int(np.count_nonzero((smooth == highest) & (smooth > least) & (smooth > smooth.min())))
