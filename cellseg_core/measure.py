"""Per-cell statistics from an image and a label image, band by band."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image
from cellseg_core.normalize import row_bands
from cellseg_core.objects import compact
from cellseg_core.table import CellTable

__all__ = ["measure"]


def measure(
    image: Image | NDArray[Any],
    labels: NDArray[np.integer[Any]],
    *,
    scores: NDArray[np.float64] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CellTable:
    """Return size, position and mean intensity in every channel of each labelled cell.

    Parameters
    ----------
    image
        An :class:`~cellseg_core.image.Image`, or an array (C, Y, X) or (Y, X). Channels are read
        one after the other, in bands of rows.
    labels
        Integers (Y, X): 0 is background, each other value one cell. Gaps are fine: a row of the
        table for each value that occurs.
    scores
        Confidence of each row, where there is one.
    progress
        Called with (channels done, channels).

    Returns
    -------
    CellTable
        Means are over the finite pixels of a cell, summed in float64; a cell without any has the
        mean NaN. With a pixel size the feature ``area_um2`` is there as well.

    Raises
    ------
    ImageError
        If labels and image differ in size, or labels are negative or not integers.

    >>> table = measure(np.array([[[1, 3, 9]]]), np.array([[5, 5, 0]]))
    >>> table.labels.tolist(), table.areas.tolist(), table.intensities.tolist()
    ([5], [2], [[2.0]])
    """
    image = image if isinstance(image, Image) else Image(image)
    labels = np.asarray(labels)
    _check(labels, image)
    numbered, present = compact(labels)
    count = present.size
    areas = np.zeros(count + 1, np.int64)
    centre = np.zeros((2, count + 1))
    for rows in row_bands(image.shape):
        band = numbered[rows]
        y, x = np.nonzero(band)
        ids = band[y, x]
        areas += np.bincount(ids, minlength=count + 1)
        centre[0] += np.bincount(ids, y + rows.start, count + 1)
        centre[1] += np.bincount(ids, x, count + 1)
    means = np.empty((count, len(image.channels)))
    for number in range(len(image.channels)):
        means[:, number] = _means(image, number, numbered, areas)[1:]
        if progress is not None:
            progress(number + 1, len(image.channels))
    on_edge = np.zeros(count + 1, bool)
    for edge in (numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]):
        on_edge[edge] = True
    features: dict[str, NDArray[np.generic]] = {}
    if image.pixel_size is not None:
        features["area_um2"] = areas[1:] * image.pixel_size**2
    return CellTable(
        labels=present,
        areas=areas[1:],
        centroids=(centre[:, 1:] / areas[1:]).T,
        touches_edge=on_edge[1:],
        channels=image.channels,
        intensities=means,
        features=features,
        image=image.name,
        position=image.position,
        **({} if scores is None else {"scores": np.asarray(scores, np.float64)}),
    )


def _means(
    image: Image, number: int, labels: NDArray[np.integer[Any]], areas: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean of one channel for each number of a cell, from 0."""
    totals = np.zeros(areas.size)
    counts = areas.copy()
    for rows in row_bands(image.shape):
        ids = labels[rows].ravel()
        values = image.read(number, rows).ravel().astype(np.float64)
        bad = ~np.isfinite(values)
        if bad.any():
            counts -= np.bincount(ids[bad], minlength=areas.size)
            values[bad] = 0
        totals += np.bincount(ids, values, areas.size)
    counts[0] = 0
    with np.errstate(invalid="ignore"):
        return totals / np.where(counts > 0, counts, np.nan)


def _check(labels: NDArray[Any], image: Image) -> None:
    if labels.shape != image.shape:
        raise ImageError(
            f"{image.name}: the label image has the size {labels.shape}, the image {image.shape}; "
            "they must be the same. Was the label image made from this image, without cropping?"
        )
    if labels.dtype.kind not in "iu":
        raise ImageError(
            f"{image.name}: a label image holds integers; this one holds {labels.dtype}. If its "
            "values are whole numbers, convert it with labels.astype('int32')."
        )
    if labels.min(initial=0) < 0:
        raise ImageError(
            f"{image.name}: the label image holds negative values (down to {labels.min()}); "
            "0 is background and each cell has a positive value."
        )
