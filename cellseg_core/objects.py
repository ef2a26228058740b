"""Clean label images: one connected object for each label, holes filled, ids in reading order."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.label_image import LazyLabels, bands_of
from cellseg_core.protocols import Labels

__all__ = [
    "ReadingOrder",
    "bounding_boxes",
    "compact",
    "reading_order",
    "tidy",
]


def compact(labels: NDArray[np.integer[Any]]) -> tuple[Labels, NDArray[np.int64]]:
    """Return ``labels`` with the ids 1..n in the order of their values, and the former ids.

    ``ids[i]`` is what object ``i + 1`` was called. Work that needs memory for each possible id
    then needs it for each id that there is.

    >>> labels, ids = compact(np.array([[0, 2_000_000_000], [7, 7]]))
    >>> labels.tolist(), ids.tolist()
    ([[0, 2], [1, 1]], [7, 2000000000])
    """
    labels = np.asarray(labels)
    top = int(labels.max(initial=0))
    if top <= 2 * labels.size:
        there = np.zeros(top + 1, bool)
        there[labels] = True
        there[0] = False
        ids = np.flatnonzero(there)
        number = np.cumsum(there, dtype=np.int32)
        number[~there] = 0
        return number[labels], ids
    ids, inverse = np.unique(labels, return_inverse=True)
    if ids[0] == 0:
        return inverse.reshape(labels.shape).astype(np.int32), ids[1:].astype(np.int64)
    return (inverse.reshape(labels.shape) + 1).astype(np.int32), ids.astype(np.int64)


def tidy(labels: NDArray[np.integer[Any]]) -> Labels:
    """Return ``labels`` (Y, X) with every object in one piece and without holes.

    Of a label in several pieces (8-neighbours) the largest stays; of equal ones the first in
    reading order. A hole is background (4-neighbours) that touches one object only and not the
    edge of the array; it is filled. Ids keep their values.

    >>> ring = np.array([[2, 2, 2], [2, 0, 2], [2, 2, 2]])
    >>> int(tidy(ring)[1, 1])
    2
    """
    clean: Labels = np.asarray(labels).astype(np.int32)
    if not clean.any():
        return clean
    pieces, count = _components(clean, connectivity=2)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int32)
    owner[pieces.ravel()] = clean.ravel()
    owner[0] = 0
    # Pieces are numbered in reading order, so the last key settles ties.
    order = np.lexsort((np.arange(1, count + 1), -sizes[1:], owner[1:])) + 1
    largest = np.ones(count, bool)
    largest[1:] = owner[order][1:] != owner[order][:-1]
    kept = np.zeros(count + 1, np.int32)
    kept[order[largest]] = owner[order[largest]]
    return _fill_holes(kept[pieces])


def _components(values: NDArray[np.generic], connectivity: int) -> tuple[NDArray[np.int64], int]:
    """Return connected parts of equal value, numbered from 1 in reading order; 0 stays 0."""
    from skimage.measure import label

    parts, count = label(values, connectivity=connectivity, return_num=True)
    return np.asarray(parts, np.int64), int(count)


def _fill_holes(labels: Labels) -> Labels:
    gaps, count = _components(labels == 0, connectivity=1)
    if count == 0:
        return labels
    lowest = np.full(count + 1, np.iinfo(np.int32).max, np.int32)
    highest = np.zeros(count + 1, np.int32)
    above, below = np.s_[:-1, :], np.s_[1:, :]
    left, right = np.s_[:, :-1], np.s_[:, 1:]
    for gap_side, label_side in ((above, below), (below, above), (left, right), (right, left)):
        gap, beside = gaps[gap_side], labels[label_side]
        border = (gap > 0) & (beside > 0)
        np.minimum.at(lowest, gap[border], beside[border])
        np.maximum.at(highest, gap[border], beside[border])
    hole = lowest == highest
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        hole[edge] = False
    hole[0] = False
    filling: Labels = np.where(hole, highest, 0)[gaps]
    return labels + filling


def bounding_boxes(labels: Labels, count: int) -> NDArray[np.int64]:
    """Return (count, 4) boxes ``y0, y1, x0, x1`` (ends exclusive) of the labels 1..count.

    The row of a label that is absent is all 0.
    """
    from scipy.ndimage import find_objects

    boxes = np.zeros((count, 4), np.int64)
    for index, found in enumerate(find_objects(labels, max_label=count)):
        if found is not None:
            rows, columns = found
            boxes[index] = rows.start, rows.stop, columns.start, columns.stop
    return boxes


@attrs.frozen(eq=False)
class ReadingOrder:
    """New ids 1..N for the objects of a label image, by each one's first pixel, row by row.

    Attributes
    ----------
    former
        (N,) int64: ``former[i]`` is the former id of object ``i + 1``.
    new
        (largest former id + 1,) int32: the new id of each former one; 0 for one that was removed.
    removed
        How many objects were too small.
    """

    former: NDArray[np.int64]
    new: NDArray[np.int32]
    removed: int

    def apply(self, labels: NDArray[np.integer[Any]]) -> Labels:
        """Return labels, of any part of the image, with their new ids."""
        renumbered: Labels = self.new[labels]
        return renumbered

    def of(self, labels: LazyLabels) -> LazyLabels:
        """Return a lazy label image with the new ids, which it gets when it is read."""
        return _Reordered(labels, self)


@attrs.frozen(eq=False)
class _Reordered:
    labels: LazyLabels
    order: ReadingOrder
    dtype = np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.labels.shape

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return getattr(self.labels, "chunks", None)

    def __getitem__(self, key: Any) -> Labels:
        return self.order.apply(np.asarray(self.labels[key]))


def reading_order(labels: LazyLabels | Labels, min_size: int = 1) -> ReadingOrder:
    """Return the reading order of the objects of a label image without those under ``min_size`` px.

    ``labels`` (Y, X) may be lazy: they are read once, in bands of rows. Memory is that of a band,
    and of a table of all ids up to the largest.

    >>> reading_order(np.array([[0, 7, 7], [3, 0, 0]], np.int32)).former.tolist()
    [7, 3]
    """
    height, width = (int(length) for length in labels.shape)
    nowhere = height * width
    sizes, first = np.zeros(1, np.int64), np.full(1, nowhere)
    for rows in bands_of(labels):
        flat = np.asarray(labels[rows, :]).ravel()
        where = np.flatnonzero(flat)
        ids = flat[where]
        more = int(ids.max(initial=0)) + 1 - sizes.size
        if more > 0:
            sizes = np.pad(sizes, (0, more))
            first = np.pad(first, (0, more), constant_values=nowhere)
        sizes += np.bincount(ids, minlength=sizes.size)
        # The last assignment to an index wins: from the end, that is the first pixel.
        here = np.full(first.size, nowhere)
        here[ids[::-1]] = where[::-1] + rows.start * width
        np.minimum(first, here, out=first)
    former = np.flatnonzero(sizes >= max(1, min_size))
    former = former[np.argsort(first[former], kind="stable")]
    new = np.zeros(sizes.size, np.int32)
    new[former] = np.arange(1, former.size + 1, dtype=np.int32)
    return ReadingOrder(former, new, int(np.count_nonzero(sizes)) - former.size)
