"""Growing nuclei into cells, so that the signal of the membrane is measured.

Nuclei keep all their pixels under every rule, and the result depends neither on how the labels
are numbered nor on how an image is cut: whoever grows a window that holds, whole, every nucleus
with a pixel at most ``ceil(distance) + 1`` px (rows and columns) from some part of it gets in that
part what the whole image gives. The image's edge stops growth and changes nothing else.

Beyond the result, the rules need memory for a few rows (``sequential``), a band of rows
(``voronoi``) or a table of the nuclei (``standard``).
"""

from __future__ import annotations

import math
from numbers import Real

import attrs
import numpy as np

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.label_image import LazyLabels, check_labels, read_labels
from cellseg_core.normalize import row_bands
from cellseg_core.protocols import Labels

__all__ = [
    "SequentialExpander",
    "StandardExpander",
    "VoronoiExpander",
    "expand_sequential",
    "expand_standard",
    "expand_voronoi",
]


def expand_sequential(labels: LazyLabels, distance: int = 1) -> Labels:
    """Return ``labels`` (Y, X) grown 1 px at a time, ``distance`` times, stopping where they meet.

    In each step a background pixel beside (4-neighbours) one label joins it. Beside several it
    joins the one that has the most of its 8 neighbours; of equal ones the one above, else left,
    else right, else below. A step depends on nothing but the pixels before it: growing by a and
    then by b is growing by a + b.

    This is the second rule of Lee et al. 2022. The original decides ties by the order of the ids,
    lets cells overwrite each other on the way, and never grows into the last row and column.

    Parameters
    ----------
    labels
        Integers (Y, X): 0 is background, each other value one nucleus. Gaps are fine.
    distance
        How far to grow in whole px. Growth ends early once nothing is left to take.

    Returns
    -------
    ndarray
        int32 (Y, X), a new array, with the ids of ``labels``.

    Raises
    ------
    ConfigurationError
        If ``distance`` is negative, infinite or not whole.
    ImageError
        If ``labels`` is not a label image, or has ids above 2,147,483,647.

    >>> expand_sequential(np.array([[0, 1, 0, 0, 2, 0]]), 2).tolist()
    [[1, 1, 1, 2, 2, 2]]
    """
    from cellseg_postprocess.expansion_kernels import grow_by_steps

    steps = _whole(distance)
    grown = _copy(labels)
    grow_by_steps(grown, min(steps, sum(grown.shape)))
    return grown


def expand_standard(labels: LazyLabels, distance: int = 1) -> Labels:
    """Return ``labels`` (Y, X) in which every mask has grown by ``distance`` px on all sides.

    A mask reaches the background pixels at most ``distance`` steps (4-neighbours) away. A pixel
    that several reach goes to the one with the nearest centre (Euclidean; the mean position of
    the nucleus' pixels); of equally near ones to the one whose first pixel comes first in reading
    order. A cell may lie in several pieces where a neighbour's centre is nearer in between.

    This is the first rule of Lee et al. 2022, without the original's faults: it takes pixels from
    other nuclei, and lets the higher id win among cells that it wrongly holds for far apart.

    The time grows with the number of pixels that all masks reach together, each counted alone.

    Parameters
    ----------
    labels
        Integers (Y, X): 0 is background, each other value one nucleus. Gaps are fine.
    distance
        How far to grow in whole px.

    Returns
    -------
    ndarray
        int32 (Y, X), a new array, with the ids of ``labels``.

    Raises
    ------
    ConfigurationError
        If ``distance`` is negative, infinite or not whole.
    ImageError
        If ``labels`` is not a label image, or has ids above 2,147,483,647.

    >>> expand_standard(np.array([[0, 1, 0, 0, 2, 0]]), 2).tolist()
    [[1, 1, 1, 2, 2, 2]]
    """
    from cellseg_postprocess.expansion_centre_kernels import (
        grow_to_centres,
        number_nuclei,
        restore_ids,
    )

    steps = _whole(distance)
    grown = _copy(labels)
    if steps == 0 or grown.size == 0:
        return grown
    ids = _ids(grown)
    areas = np.zeros(ids.size, np.int64)
    first = np.zeros((ids.size, 2), np.int64)
    sums = np.zeros((ids.size, 2), np.int64)
    number_nuclei(grown, ids, areas, first, sums)
    grow_to_centres(grown, areas, first, sums, min(steps, sum(grown.shape)))
    restore_ids(grown, ids)
    return grown


def expand_voronoi(labels: LazyLabels, distance: float = 1) -> Labels:
    """Return ``labels`` (Y, X) in which each background pixel joins the nearest mask.

    Nearest by the Euclidean distance to the mask's nearest pixel, up to ``distance`` px. Of
    equally near mask pixels the one furthest left counts, then the one furthest up. That is what
    ``skimage.segmentation.expand_labels`` gives, ties included.

    Parameters
    ----------
    labels
        Integers (Y, X): 0 is background, each other value one nucleus. Gaps are fine.
    distance
        How far to grow in px; it need not be whole.

    Returns
    -------
    ndarray
        int32 (Y, X), a new array, with the ids of ``labels``.

    Raises
    ------
    ConfigurationError
        If ``distance`` is negative or infinite.
    ImageError
        If ``labels`` is not a label image, or has ids above 2,147,483,647.

    >>> expand_voronoi(np.array([[0, 1, 0, 0, 0, 2]]), 1.5).tolist()
    [[1, 1, 1, 0, 2, 2]]
    """
    from cellseg_postprocess.expansion_kernels import grow_to_nearest

    reach = _any(distance)
    grown = _copy(labels)
    if reach > 0 and grown.size > 0:
        reach = min(reach, float(sum(grown.shape)))
        grow_to_nearest(grown, int(reach), _largest_square(reach))
    return grown


def _whole(distance: float) -> int:
    number = isinstance(distance, Real)
    if not (number and 0 <= distance < math.inf and distance == int(distance)):
        raise ConfigurationError(
            f"this expander grows by whole px, 0 or more; got {distance!r}. "
            "The expander 'voronoi' takes any distance."
        )
    return int(distance)


def _any(distance: float) -> float:
    if not (isinstance(distance, Real) and 0 <= distance < math.inf):
        raise ConfigurationError(f"a distance to grow is 0 or more px; got {distance}")
    return distance


@attrs.frozen
class SequentialExpander:
    """:func:`expand_sequential` as a component.

    Parameters
    ----------
    distance
        How far to grow in whole px.
    """

    distance: int = attrs.field(default=1, converter=_whole)

    def expand(self, labels: Labels) -> Labels:
        """Return the grown label image."""
        return expand_sequential(labels, self.distance)


@attrs.frozen
class StandardExpander:
    """:func:`expand_standard` as a component.

    Parameters
    ----------
    distance
        How far to grow in whole px.
    """

    distance: int = attrs.field(default=1, converter=_whole)

    def expand(self, labels: Labels) -> Labels:
        """Return the grown label image."""
        return expand_standard(labels, self.distance)


@attrs.frozen
class VoronoiExpander:
    """:func:`expand_voronoi` as a component.

    Parameters
    ----------
    distance
        How far to grow in px.
    """

    distance: float = attrs.field(default=1, converter=_any)

    def expand(self, labels: Labels) -> Labels:
        """Return the grown label image."""
        return expand_voronoi(labels, self.distance)


def _copy(labels: LazyLabels) -> Labels:
    """Return a label image as a new array, read in bands of rows and checked."""
    checked = check_labels(labels)
    height, width = checked.shape
    copy = np.empty((height, width), np.int32)
    if copy.size == 0:
        return copy
    for rows in row_bands((height, width)):
        band = read_labels(checked, rows)
        if band.dtype != np.int32:
            raise ImageError(
                f"ids go up to 2,147,483,647; this label image has {np.max(checked[rows])}. "
                "Renumber it, for example with skimage.segmentation.relabel_sequential."
            )
        copy[rows] = band
    return copy


def _ids(labels: Labels) -> Labels:
    """Return the ids in ascending order, after a 0 for the background.

    Labels come in runs along a row: the first pixels of the runs hold every id.
    """
    found = [np.zeros(1, np.int32)]
    for rows in row_bands((labels.shape[0], labels.shape[1])):
        flat = labels[rows].ravel()
        found += [flat[:1], np.unique(flat[1:][flat[1:] != flat[:-1]])]
    return np.unique(np.concatenate(found))


def _largest_square(distance: float) -> int:
    """Return the largest whole number whose root is at most ``distance``."""
    square = int(distance * distance) + 1
    while math.sqrt(square) > distance:
        square -= 1
    return square
