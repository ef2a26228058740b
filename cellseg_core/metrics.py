"""How well predicted objects match true ones (2018 Data Science Bowl definitions)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError

__all__ = ["THRESHOLDS", "average_precision", "mean_average_precision", "pairwise_iou"]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU 0.5, 0.55 ... 0.95, as the 2018 Data Science Bowl has them."""


def pairwise_iou(
    truth: NDArray[np.integer[Any]], pred: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return every pair of objects with common pixels: true label, predicted label, their IoU.

    Both are label images (Y, X) of one size; 0 is background. Time and memory grow with the number
    of pixels and of pairs, not with the product of the numbers of objects.

    >>> [part.tolist() for part in pairwise_iou(np.array([[1, 1, 0]]), np.array([[0, 4, 4]]))]
    [[1], [4], [0.3333333333333333]]
    """
    truth, pred = np.asarray(truth), np.asarray(pred)
    for labels in (truth, pred):
        if labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
            raise ImageError(f"label images hold integers of 0 or more; got {labels.dtype}")
    if truth.shape != pred.shape:
        raise ImageError(
            f"truth and prediction must have one size; got {truth.shape} and {pred.shape}"
        )
    true_ids, one = np.unique(truth, return_inverse=True)
    pred_ids, other = np.unique(pred, return_inverse=True)
    one, other = one.ravel(), other.ravel()
    true_sizes, pred_sizes = np.bincount(one), np.bincount(other)
    keys, common = np.unique(one * pred_ids.size + other, return_counts=True)
    first, second = np.divmod(keys, pred_ids.size)
    real = (true_ids[first] > 0) & (pred_ids[second] > 0)
    first, second, common = first[real], second[real], common[real]
    iou = common / (true_sizes[first] + pred_sizes[second] - common)
    return true_ids[first].astype(np.int64), pred_ids[second].astype(np.int64), iou


def average_precision(
    truth: NDArray[np.integer[Any]],
    pred: NDArray[np.integer[Any]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> NDArray[np.float64]:
    """Return TP / (TP + FP + FN) for each IoU threshold.

    An object is found (TP) if its IoU with a predicted one is over the threshold; at 0.5 and more
    no object can match two. 1 where neither image has an object.

    Raises
    ------
    ImageError
        If the images differ in size or are not label images.
    ConfigurationError
        If a threshold is under 0.5, where matches are no longer unique.
    """
    from cellseg_core.errors import ConfigurationError

    if any(not 0.5 <= threshold < 1 for threshold in thresholds):
        raise ConfigurationError(f"IoU thresholds lie from 0.5 to under 1; got {list(thresholds)}")
    _, _, iou = pairwise_iou(truth, pred)
    objects = sum(np.count_nonzero(np.unique(labels)) for labels in (truth, pred))
    matched = np.array([np.count_nonzero(iou > threshold) for threshold in thresholds])
    found = objects - matched
    return np.where(found > 0, matched / np.maximum(found, 1), 1.0)


def mean_average_precision(
    pairs: Iterable[tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Return the mean over images (truth, prediction) of the mean AP over thresholds.

    The score of the 2018 Data Science Bowl.
    """
    scores = [average_precision(truth, pred, thresholds).mean() for truth, pred in pairs]
    if not scores:
        raise ImageError("there is no image to score")
    return float(np.mean(scores))
