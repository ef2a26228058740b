"""Grows nuclei into cells with any expander, window by window where a label image is large."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cellseg_core.errors import CellsegError, SegmentationError
from cellseg_core.label_image import LazyLabels
from cellseg_core.label_store import WINDOW, make_labels
from cellseg_core.protocols import Expander, Labels
from cellseg_core.regions import Regions, find_regions
from cellseg_core.tiling import Box

__all__ = ["grow"]


def grow(
    expander: Expander,
    nuclei: Labels | LazyLabels,
    distance: float,
    name: str,
    folder: Path | None = None,
) -> Labels | LazyLabels:
    """Return the cells (Y, X) that an expander makes of nuclei.

    Parameters
    ----------
    expander
        It was built with ``distance``, in px.
    nuclei
        int32; they may be lazy if there is a ``folder``.
    name
        The image's, for messages.
    folder
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
        If the folder cannot be written.
    """
    height, width = (int(length) for length in nuclei.shape)
    if folder is None:
        whole = Box(0, height, 0, width)
        return make_labels((height, width), lambda _: _grown(expander, nuclei[whole.slices], name))
    regions = find_regions(nuclei, name)
    halo = math.ceil(distance) + 1

    def window(box: Box) -> Labels:
        around = _around(box, regions, halo, (height, width))
        return _grown(expander, nuclei[around.slices], name)[box.within(around)]

    return make_labels((height, width), window, folder)


def _around(box: Box, regions: Regions, halo: int, shape: tuple[int, int]) -> Box:
    """Return the box, its surroundings, and all of every nucleus that can reach into them."""
    near = box.grown(halo, shape)
    y0, x0, y1, x1 = regions.boxes.T
    meets = (y0 < near.y1) & (y1 > near.y0) & (x0 < near.x1) & (x1 > near.x0)
    there = regions.boxes[meets & (np.maximum(y1 - y0, x1 - x0) <= WINDOW)]
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
    if cells.shape != nuclei.shape or not np.array_equal(cells[nuclei > 0], nuclei[nuclei > 0]):
        raise SegmentationError(
            f"{name}: {type(expander).__name__} broke a rule: cells must keep the size of the "
            "label image and every pixel of their nuclei."
        )
    return cells
