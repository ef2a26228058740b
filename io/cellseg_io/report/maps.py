"""Where cells are, and how bright in each channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_io.report.plots import Axis, Heatmap, heatmap, histogram, short

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["Bins", "Marker", "bins_of", "density", "markers"]

_MAP = 100  # bins along the longer edge of a map, at most
_PER_BIN = 6.0  # cells in a bin, about


@attrs.frozen
class Marker:
    """A channel: its histogram, its map and what its figures are, in a sentence."""

    name: str
    plot: str
    map: Heatmap
    said: str


@attrs.frozen(eq=False)
class Bins:
    """A grid over the image: its (rows, columns), and the bin of each cell."""

    shape: tuple[int, int]
    of: NDArray[np.intp]

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return means over the cells of each bin (Y, X), NaN where there are none."""
        size = self.shape[0] * self.shape[1]
        known = np.isfinite(values)
        counts = np.bincount(self.of[known], minlength=size)
        sums = np.bincount(self.of[known], values[known], size)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return means.reshape(self.shape)


def bins_of(centroids: NDArray[np.float64], shape: tuple[int, int]) -> Bins:
    """Return bins that are about square and hold about six cells each, up to 100 in a row."""
    edge = max(max(shape) / _MAP, (_PER_BIN * shape[0] * shape[1] / max(1, len(centroids))) ** 0.5)
    rows, columns = (max(1, round(length / edge)) for length in shape)
    row = np.minimum((centroids[:, 0] + 0.5) * rows / shape[0], rows - 1).astype(np.intp)
    column = np.minimum((centroids[:, 1] + 0.5) * columns / shape[1], columns - 1).astype(np.intp)
    return Bins((rows, columns), row * columns + column)


def density(result: Result, bins: Bins) -> tuple[Heatmap, str]:
    """Return the map of cells per area, and from what to what it goes."""
    height, width = result.image.shape
    rows, columns = bins.shape
    counts = np.bincount(bins.of, minlength=rows * columns).reshape(bins.shape).astype(np.float64)
    per, unit = height * width / (rows * columns) / 1e6, "megapixel"
    if result.image.pixel_size is not None:
        per, unit = per * result.image.pixel_size**2, "mm\u00b2"
    made = heatmap(counts / per)
    return made, f"{made.low} to {made.high} cells per {unit}"


def markers(result: Result, bins: Bins) -> Iterator[Marker]:
    """Yield every channel."""
    table = result.table
    if not len(table):
        return
    for column, name in enumerate(table.channels):
        values = table.intensities[:, column]
        before = None if table.uncompensated is None else table.uncompensated[:, column]
        axis = Axis.of_signal(values if before is None else np.concatenate([values, before]))
        middle, high = (
            np.percentile(known, (50, 99)).tolist()
            if (known := values[np.isfinite(values)]).size
            else (float("nan"),) * 2
        )
        yield Marker(
            name,
            histogram(values, axis, "mean of the cell", before),
            heatmap(bins.means(values)),
            f"median {short(middle)}, 99th percentile {short(high)}",
        )
