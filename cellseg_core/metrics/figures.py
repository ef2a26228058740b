"""Every figure of accuracy as a function of sums, for one image or for many taken together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cellseg_core.metrics.average_precision import THRESHOLDS

__all__ = ["SIZES", "Sums", "figures", "percent"]

SIZES = 4
"""Groups of true objects by their area: quartiles, the smallest first."""

Sums = Mapping[str, NDArray[np.float64]]
"""Numbers that add up over images, by name: arrays of one shape, for example one for each image.

``true``, ``predicted``, ``splits``, ``merges``: objects; ``matched_50`` to ``matched_95``: matches
over that IoU; ``iou``: the sum of the IoU over 0.5; ``jaccard_common``, ``jaccard_union``,
``outline_true``, ``outline_found``, ``outline_predicted``, ``outline_right``: pixels.
``true_size_1`` to ``true_size_4`` and ``found_size_1`` to ``found_size_4``, true objects by area,
may be left out.
"""


def percent(threshold: float) -> int:
    """Return an IoU threshold as it is in names.

    >>> percent(0.55)
    55
    """
    return round(100 * threshold)


def figures(sums: Sums) -> dict[str, NDArray[np.float64]]:
    """Return every figure by name, in the shape of the sums.

    From the sums of one image these are its figures; from sums over images, the pooled figures, as
    though all images were parts of one.

    Where neither image has an object the prediction is perfect, and what weighs both missed and
    invented objects is 1: ``ap``, ``f1``, ``panoptic_quality``, ``recognition_quality``,
    ``aggregated_jaccard`` and ``boundary_f1``; where only one of them has objects, these are 0.
    A share of nothing, such as the precision without a predicted object or the recall without a
    true one, is NaN: there is no such figure.

    ======================== =================================================================
    ``mean_ap``              mean of ``ap`` over the thresholds 0.5, 0.55 ... 0.95
    ``ap_50`` ...            TP / (TP + FP + FN), TP being objects with an IoU over 0.5 ...
    ``precision_50`` ...     TP / predicted objects
    ``recall_50`` ...        TP / true objects
    ``f1_50`` ...            2 TP / (true + predicted objects)
    ``panoptic_quality``     sum of the IoU over 0.5 / half of (true + predicted objects)
    ``segmentation_quality`` mean IoU of the matches (over 0.5)
    ``recognition_quality``  ``f1_50``
    ``mean_true_score``      sum of the IoU over 0.5 / true objects
    ``aggregated_jaccard``   :func:`~cellseg_core.metrics.aggregated_jaccard`
    ``boundary_precision``   share of the predicted outlines with a true one within the tolerance
    ``boundary_recall``      share of the true outlines with a predicted one
    ``boundary_f1``          harmonic mean of both
    ``count_ratio``          predicted objects / true objects
    ``split_share``          split objects / true objects
    ``merge_share``          merges / predicted objects
    ``recall_size_1`` ...    ``recall_50`` of true objects by area, smallest first (if in the sums)
    ======================== =================================================================
    """
    true, pred, iou = sums["true"], sums["predicted"], sums["iou"]
    found: dict[str, NDArray[np.float64]] = {}
    levels = [percent(threshold) for threshold in THRESHOLDS]
    for level in levels:
        matched = sums[f"matched_{level}"]
        found[f"ap_{level}"] = _ratio(matched, true + pred - matched, nothing=1)
        found[f"precision_{level}"] = _ratio(matched, pred)
        found[f"recall_{level}"] = _ratio(matched, true)
        found[f"f1_{level}"] = _ratio(2 * matched, true + pred, nothing=1)
    mean_ap = np.mean([found[f"ap_{level}"] for level in levels], axis=0)
    precision = _ratio(sums["outline_right"], sums["outline_predicted"])
    recall = _ratio(sums["outline_found"], sums["outline_true"])
    lines = sums["outline_true"] + sums["outline_predicted"]
    both = np.nan_to_num(precision), np.nan_to_num(recall)
    boundary = _ratio(2 * both[0] * both[1], both[0] + both[1], nothing=0)
    found = {"mean_ap": np.asarray(mean_ap)} | found
    found |= {
        "panoptic_quality": _ratio(2 * iou, true + pred, nothing=1),
        "segmentation_quality": _ratio(iou, sums["matched_50"]),
        "recognition_quality": found["f1_50"],
        "mean_true_score": _ratio(iou, true),
        "aggregated_jaccard": _ratio(sums["jaccard_common"], sums["jaccard_union"], nothing=1),
        "boundary_precision": precision,
        "boundary_recall": recall,
        "boundary_f1": np.where(lines > 0, boundary, 1.0),
        "count_ratio": _ratio(pred, true),
        "split_share": _ratio(sums["splits"], true),
        "merge_share": _ratio(sums["merges"], pred),
    }
    for size in range(1, SIZES + 1):
        if f"true_size_{size}" in sums:
            found[f"recall_size_{size}"] = _ratio(
                sums[f"found_size_{size}"], sums[f"true_size_{size}"]
            )
    return found


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], nothing: float = np.nan
) -> NDArray[np.float64]:
    """Return ``part / whole``, and ``nothing`` where both are 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), nothing)
