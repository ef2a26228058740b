"""Average precision as the 2018 Data Science Bowl defines it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.label_image import LazyLabels
from cellseg_core.metrics.overlap import Overlap

__all__ = ["THRESHOLDS", "average_precision", "mean_average_precision", "pairwise_iou"]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU 0.5, 0.55 ... 0.95, as the 2018 Data Science Bowl has them."""


def pairwise_iou(
    truth: LazyLabels | NDArray[np.integer[Any]], pred: LazyLabels | NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return every pair of objects with common pixels: true label, predicted label, their IoU.

    Both are label images (Y, X) of one size; 0 is background. Time and memory grow with the number
    of pixels and of pairs, not with the product of the numbers of objects.

    Raises
    ------
    ImageError
        If the images differ in size or are not label images.

    >>> [part.tolist() for part in pairwise_iou(np.array([[1, 1, 0]]), np.array([[0, 4, 4]]))]
    [[1], [4], [0.3333333333333333]]
    """
    overlap = Overlap.of(truth, pred)
    return overlap.true_ids[overlap.true_index], overlap.pred_ids[overlap.pred_index], overlap.iou


def average_precision(
    truth: LazyLabels | NDArray[np.integer[Any]],
    pred: LazyLabels | NDArray[np.integer[Any]],
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

    >>> average_precision(np.array([[1, 1, 1, 0, 2]]), np.array([[5, 5, 0, 0, 0]]), [0.5, 0.7])
    array([0.5, 0. ])
    """
    if any(not 0.5 <= threshold < 1 for threshold in thresholds):
        raise ConfigurationError(f"IoU thresholds lie from 0.5 to under 1; got {list(thresholds)}")
    overlap = Overlap.of(truth, pred)
    objects = overlap.true_ids.size + overlap.pred_ids.size
    matched = np.array([np.count_nonzero(overlap.matched(one)) for one in thresholds])
    found = objects - matched
    return np.where(found > 0, matched / np.maximum(found, 1), 1.0)


def mean_average_precision(
    pairs: Iterable[tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Return the mean over images (truth, prediction) of the mean AP over thresholds.

    The score of the 2018 Data Science Bowl.

    Raises
    ------
    ImageError
        If there is no image, or one is not a label image.

    >>> labels = np.array([[1, 0, 2]])
    >>> mean_average_precision([(labels, labels), (labels, labels * 0)])
    0.5
    """
    scores = [average_precision(truth, pred, thresholds).mean() for truth, pred in pairs]
    if not scores:
        raise ImageError("there is no image to score")
    return float(np.mean(scores))
