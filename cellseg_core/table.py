"""The table of cells: one row for each id of the label image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.image import Position

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIXED_COLUMNS", "CellTable"]

FIXED_COLUMNS = (
    "image",
    "cell_id",
    "region",
    "tile_row",
    "tile_col",
    "tile_z",
    "y",
    "x",
    "absolute_y",
    "absolute_x",
    "area",
    "score",
    "touches_edge",
)
"""The columns that every table begins with, in this order."""


@attrs.frozen(eq=False, repr=False, kw_only=True)
class CellTable:
    """Measurements of N cells in K channels.

    Parameters
    ----------
    labels
        (N,) int64: the id of each cell, its value in the label image; ascending.
    areas
        (N,) int64: px.
    centroids
        (N, 2) float64: mean row and column of the cell's pixel centres, in px of the image.
    touches_edge
        (N,) bool: the cell has a pixel on the edge of the image, so part of it may be missing.
    channels
        K names.
    intensities
        (N, K) float64: mean over the cell's pixels in the units of the file (NaN pixels left
        out); compensated where compensation is on.
    uncompensated
        (N, K) float64 or None: the means before compensation.
    scores
        (N,) float64: the segmenter's confidence, NaN where it gives none.
    features
        Further named columns of length N.
    statistics
        Further statistics of every channel by name (``median``, ``nucleus_mean``): (N, K) each.
    image
        Name of the image.
    position
        Place of the image in a larger acquisition.
    """

    labels: NDArray[np.int64]
    areas: NDArray[np.int64]
    centroids: NDArray[np.float64]
    touches_edge: NDArray[np.bool_]
    channels: tuple[str, ...]
    intensities: NDArray[np.float64]
    uncompensated: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] = attrs.field(
        default=attrs.Factory(lambda table: np.full(table.labels.size, np.nan), takes_self=True)
    )
    features: Mapping[str, NDArray[np.generic]] = attrs.field(factory=dict)
    statistics: Mapping[str, NDArray[Any]] = attrs.field(factory=dict)
    image: str = "image"
    position: Position = attrs.field(factory=Position)

    def __repr__(self) -> str:
        return f"<CellTable of {self.image!r}: {len(self)} cells x {len(self.channels)} channels>"

    def __len__(self) -> int:
        return int(self.labels.size)

    def channel_columns(self, taken: Iterable[str] = ()) -> dict[str, str]:
        """Return the column name of each channel: its own, unless another column has that name.

        A channel called ``area``, for example, becomes ``area:mean``; the columns of its other
        statistics begin with that name. ``taken`` are further names that are in use.
        """
        endings = ("", ":uncompensated", *(f":{name}" for name in self.statistics))
        names = {*FIXED_COLUMNS, *self.features, *taken}
        columns = {}
        for channel in self.channels:
            column = channel
            others = set(self.channels) - {channel}
            while {column + ending for ending in endings} & (names | others):
                column += ":mean"
            names |= {column + ending for ending in endings}
            columns[channel] = column
        return columns

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Return every numeric column (all but ``image``) by name, in the order of the table."""
        place = self.position
        size = len(self)
        columns: dict[str, NDArray[np.generic]] = {
            "cell_id": self.labels,
            "region": np.full(size, place.region),
            "tile_row": np.full(size, place.tile_row),
            "tile_col": np.full(size, place.tile_col),
            "tile_z": np.full(size, place.tile_z),
            "y": self.centroids[:, 0],
            "x": self.centroids[:, 1],
            "absolute_y": self.centroids[:, 0] + place.y0,
            "absolute_x": self.centroids[:, 1] + place.x0,
            "area": self.areas,
            "score": self.scores,
            "touches_edge": self.touches_edge,
            **self.features,
        }
        names = self.channel_columns()
        for index, channel in enumerate(self.channels):
            columns[names[channel]] = self.intensities[:, index]
            if self.uncompensated is not None:
                columns[f"{names[channel]}:uncompensated"] = self.uncompensated[:, index]
        for index, channel in enumerate(self.channels):
            for name, values in self.statistics.items():
                columns[f"{names[channel]}:{name}"] = values[:, index]
        return columns

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a data frame with the columns that ``cells.csv`` has."""
        import pandas as pd

        frame = pd.DataFrame(self.columns())
        frame.insert(0, "image", self.image)
        return frame
