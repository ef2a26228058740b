"""Growing nuclei into cells, so that the signal of the membrane is measured.

Nuclei keep all their pixels under every rule, and the result does not depend on how the labels
are numbered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.objects import compact
from cellseg_core.protocols import Labels

__all__ = [
    "SequentialExpander",
    "StandardExpander",
    "VoronoiExpander",
    "expand_sequential",
    "expand_standard",
    "expand_voronoi",
]


def _whole(distance: float) -> int:
    if not (0 <= distance < math.inf and distance == int(distance)):
        raise ConfigurationError(
            f"this expander grows by whole px, 0 or more; got {distance}. "
            "The expander 'voronoi' takes any distance."
        )
    return int(distance)


def expand_sequential(labels: NDArray[np.integer[Any]], distance: int = 1) -> Labels:
    """Return ``labels`` (Y, X) grown 1 px at a time, ``distance`` times, stopping where they meet.

    A background pixel beside (4-neighbours) one label joins it. Beside several it joins the one
    whose nucleus has the nearest centre (mean of its pixels); of equally near ones the one whose
    first pixel comes first in reading order. This is the second rule of Lee et al. 2022; the
    original decides ties by the order of the ids and lets cells overwrite each other.

    Raises
    ------
    ConfigurationError
        If ``distance`` is negative or not whole.
    ImageError
        If ``labels`` is not a label image (Y, X) of non-negative integers.

    >>> expand_sequential(np.array([[0, 1, 0, 0, 2, 0]]), 2).tolist()
    [[1, 1, 1, 2, 2, 2]]
    """
    grown, ids = _checked(labels)
    claims = _Claims(grown)
    cross = ((-1, 0), (0, -1), (0, 1), (1, 0))
    # After that many steps a single pixel has filled the image.
    for _ in range(min(_whole(distance), sum(grown.shape))):
        grown = claims.settle(grown, cross)
    return ids[grown]


def expand_standard(labels: NDArray[np.integer[Any]], distance: int = 1) -> Labels:
    """Return ``labels`` (Y, X) in which every mask has grown by ``distance`` px on all sides.

    A mask reaches the background pixels at most ``distance`` steps (4-neighbours) away. A pixel
    that several reach goes to the one with the nearest centre (mean of its pixels); of equally
    near ones to the one whose first pixel comes first in reading order. This is the first rule of
    Lee et al. 2022, without its fault of taking pixels from other nuclei.

    Raises
    ------
    ConfigurationError
        If ``distance`` is negative or not whole.
    ImageError
        If ``labels`` is not a label image (Y, X) of non-negative integers.

    >>> expand_standard(np.array([[0, 1, 0, 0, 2, 0]]), 2).tolist()
    [[1, 1, 1, 2, 2, 2]]
    """
    nuclei, ids = _checked(labels)
    steps = _whole(distance)
    height, width = nuclei.shape
    diamond = (
        (y, x)
        for y in range(-min(steps, height - 1), min(steps, height - 1) + 1)
        for x in range(-min(steps - abs(y), width - 1), min(steps - abs(y), width - 1) + 1)
        if (y, x) != (0, 0)
    )
    return ids[_Claims(nuclei).settle(nuclei, diamond, steps)]


def expand_voronoi(labels: NDArray[np.integer[Any]], distance: float = 1) -> Labels:
    """Return ``labels`` (Y, X) in which each background pixel joins the nearest mask.

    Nearest by the Euclidean distance to the mask's nearest pixel, up to ``distance`` px; ties as
    ``skimage.segmentation.expand_labels`` decides them, which does the work.

    Raises
    ------
    ConfigurationError
        If ``distance`` is negative.
    ImageError
        If ``labels`` is not a label image (Y, X) of non-negative integers.
    """
    from skimage.segmentation import expand_labels

    if not 0 <= distance < math.inf:
        raise ConfigurationError(f"a distance to grow is 0 or more px; got {distance}")
    nuclei, ids = _checked(labels)
    # Its type says int; it takes any distance.
    grown: Labels = expand_labels(nuclei, distance)  # pyright: ignore[reportArgumentType]
    return ids[grown]


@attrs.frozen
class SequentialExpander:
    """:func:`expand_sequential` as a component.

    Parameters
    ----------
    distance
        How far to grow in px.
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
        How far to grow in px.
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

    distance: float = 1

    def expand(self, labels: Labels) -> Labels:
        """Return the grown label image."""
        return expand_voronoi(labels, self.distance)


class _Claims:
    """Settles which of several labels gets a background pixel: the nearest centre wins."""

    def __init__(self, nuclei: Labels) -> None:
        y, x = np.nonzero(nuclei)
        ids = nuclei[y, x]
        top = int(ids.max(initial=0))
        areas = np.maximum(np.bincount(ids, minlength=top + 1), 1)
        self._y = np.bincount(ids, y, top + 1) / areas
        self._x = np.bincount(ids, x, top + 1) / areas
        first = np.full(top + 1, nuclei.size, np.int64)
        first[ids[::-1]] = (y * nuclei.shape[1] + x)[::-1]
        self._first = first

    def settle(self, labels: Labels, offsets: Iterable[tuple[int, int]], steps: int = 1) -> Labels:
        """Return ``labels`` with each background pixel given to a label at one of ``offsets``.

        The offsets reach no further than ``steps`` px (4-neighbours).
        """
        height, width = labels.shape
        rows, columns = np.nonzero(_near(labels, steps) & (labels == 0))
        best = np.zeros(rows.size, np.int32)
        nearest = np.full(rows.size, np.inf)
        for dy, dx in offsets:
            y, x = rows + dy, columns + dx
            inside = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
            claim = labels[y[inside], x[inside]]
            inside, claim = inside[claim > 0], claim[claim > 0]
            away = (rows[inside] - self._y[claim]) ** 2 + (columns[inside] - self._x[claim]) ** 2
            wins = (away < nearest[inside]) | (
                (away == nearest[inside]) & (self._first[claim] < self._first[best[inside]])
            )
            best[inside[wins]] = claim[wins]
            nearest[inside[wins]] = away[wins]
        grown = labels.copy()
        grown[rows, columns] = best
        return grown


def _near(labels: Labels, steps: int) -> NDArray[np.bool_]:
    """Return the pixels at most ``steps`` px (4-neighbours) from a label."""
    near = labels > 0
    for _ in range(min(steps, sum(labels.shape))):
        before = near.copy()
        near[1:] |= before[:-1]
        near[:-1] |= before[1:]
        near[:, 1:] |= before[:, :-1]
        near[:, :-1] |= before[:, 1:]
    return near


def _checked(labels: NDArray[Any]) -> tuple[Labels, Labels]:
    """Return the label image with the ids 1..n, and an array that turns them back."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise ImageError(
            "a label image has the axes (Y, X) and integers of 0 or more; got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if labels.max(initial=0) > np.iinfo(np.int32).max:
        raise ImageError(
            f"ids go up to 2,147,483,647; this label image has {labels.max()}. Renumber it, for "
            "example with skimage.segmentation.relabel_sequential."
        )
    numbered, ids = compact(labels)
    return numbered, np.concatenate([[0], ids]).astype(np.int32)
