"""Grows nuclei into cells with any expander, window by window where a label image is large."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import CellsegError, SegmentationError
from cellseg_core.label_image import LazyLabels
from cellseg_core.label_store import WINDOW, make_labels
from cellseg_core.protocols import Expander, Labels
from cellseg_core.regions import Regions
from cellseg_core.tiling import Box

__all__ = ["grow"]


def grow(
    expander: Expander,
    nuclei: Labels | LazyLabels,
    regions: Regions,
    distance: float,
    name: str,
    file: Path | None = None,
) -> tuple[Labels | LazyLabels, Regions]:
    """Return the cells (Y, X) that an expander makes of nuclei, and where they are.

    Parameters
    ----------
    expander
        It was built with ``distance``, in px.
    nuclei
        int32; they may be lazy if there is a ``file``.
    regions
        Where the nuclei are.
    name
        The image's, for messages.
    file
        Where to make the label image window by window. Default: in memory, in one piece. An
        expander gives the same both ways: what is further than ``ceil(distance) + 1`` px away
        from a window, but for the rest of nuclei that are not, decides over nothing in it
        (:class:`~cellseg_core.testing.ExpanderTests`). Only of an object larger than a window, a
        fold in the tissue, say, does it see a part.

    Raises
    ------
    SegmentationError
        If the expander fails, or takes pixels from nuclei or changes the size.
    OutputError
        If the file cannot be written.
    """
    height, width = (int(length) for length in nuclei.shape)
    if file is None:
        whole = Box(0, height, 0, width)
        return make_labels((height, width), lambda _: _grown(expander, nuclei[whole.slices], name))
    boxes = regions.boxes
    y0, x0, y1, x1 = boxes.T
    boxes = boxes[np.maximum(y1 - y0, x1 - x0) <= WINDOW]
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    halo = math.ceil(distance) + 1

    def window(box: Box) -> Labels:
        around = _around(box, boxes, halo, (height, width))
        return _grown(expander, nuclei[around.slices], name)[box.within(around)]

    return make_labels((height, width), window, file)


def _around(box: Box, boxes: NDArray[np.int64], halo: int, shape: tuple[int, int]) -> Box:
    """Return the box, its surroundings, and all of every nucleus that can reach into them.

    ``boxes`` (N, 4) of nuclei are sorted by their first row, and none is larger than a window.
    """
    near = box.grown(halo, shape)
    first, last = np.searchsorted(boxes[:, 0], (near.y0 - WINDOW, near.y1))
    rows = boxes[first:last]
    _, x0, y1, x1 = rows.T
    there = rows[(y1 > near.y0) & (x0 < near.x1) & (x1 > near.x0)]
    if not there.size:
        return near
    low, high = there[:, :2].min(axis=0), there[:, 2:].max(axis=0)
    return Box(
        min(near.y0, int(low[0])),
        max(near.y1, int(high[0])),
        min(near.x0, int(low[1])),
        max(near.x1, int(high[1])),
    )


def _grown(expander: Expander, nuclei: Labels, name: str) -> Labels:
    try:
        cells = expander.expand(nuclei)
    except CellsegError:
        raise
    except Exception as error:
        raise SegmentationError(
            f"{name}: {type(expander).__name__} failed ({type(error).__name__}: {error})."
        ) from error
    if cells.min(initial=0) < 0:
        raise SegmentationError(
            f"{name}: {type(expander).__name__} broke a rule: it gave negative labels."
        )
    if cells.shape != nuclei.shape or not np.array_equal(cells[nuclei > 0], nuclei[nuclei > 0]):
        raise SegmentationError(
            f"{name}: {type(expander).__name__} broke a rule: cells must keep the size of the "
            "label image and every pixel of their nuclei."
        )
    return cells
