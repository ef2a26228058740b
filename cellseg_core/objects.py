"""Clean label images: one connected object for each label, holes filled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.protocols import Labels

__all__ = ["bounding_boxes", "compact", "tidy"]


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
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(count + 1, np.int32)
    owner[pieces.ravel()] = clean.ravel()
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
