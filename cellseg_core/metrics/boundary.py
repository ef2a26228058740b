"""How much of the outlines of one label image lies along those of another."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.label_image import LazyLabels, check_labels, read_labels
from cellseg_core.normalize import row_bands

__all__ = ["Boundary", "compare_boundaries"]

_LARGEST = 50  # px: the work for a pixel grows with the square of the tolerance


@attrs.frozen(kw_only=True)
class Boundary:
    """Pixels of outlines, which add up over images.

    Attributes
    ----------
    true, true_found
        Pixels of the true outlines, and those with a predicted outline within the tolerance.
    pred, pred_right
        Pixels of the predicted outlines, and those with a true outline within the tolerance.
    """

    true: int
    true_found: int
    pred: int
    pred_right: int


def compare_boundaries(
    truth: LazyLabels | NDArray[np.integer[Any]],
    pred: LazyLabels | NDArray[np.integer[Any]],
    tolerance: float = 2.0,
) -> Boundary:
    """Return how many pixels of the outlines in two label images lie near one another.

    A pixel of an object is on its outline if one of its 4-neighbours belongs to the background or
    to another object; the edge of the image makes no outline. Near is a distance (Euclidean) of at
    most ``tolerance`` px. The boundary F1 of Csurka et al. 2013 (BMVC, "What is a good evaluation
    measure for semantic segmentation?") is made from these numbers, for all objects together: it
    tells how well outlines are drawn, whether or not the objects are the right ones.

    The label images may be lazy: they are read in bands of rows.

    Raises
    ------
    ImageError
        If one is not a label image, or their sizes differ.
    ConfigurationError
        If the tolerance is not from 0 to 50 px.

    >>> truth = np.array([[0, 1, 1, 1, 0, 0]])
    >>> compare_boundaries(truth, np.roll(truth, 1), tolerance=0)
    Boundary(true=2, true_found=0, pred=2, pred_right=0)
    >>> compare_boundaries(truth, np.roll(truth, 1), tolerance=1)
    Boundary(true=2, true_found=2, pred=2, pred_right=2)
    """
    from cellseg_core.metrics.boundary_kernels import count_near, outlines

    if not 0 <= tolerance <= _LARGEST:
        raise ConfigurationError(
            f"the tolerance for outlines is from 0 to {_LARGEST} px; got {tolerance:g}."
        )
    one, other = check_labels(truth, "truth"), check_labels(pred, "prediction")
    if tuple(one.shape) != tuple(other.shape):
        raise ImageError(
            f"truth and prediction must have one size; got {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    height, width = int(one.shape[0]), int(one.shape[1])
    offsets = _disc(tolerance)
    reach = math.floor(tolerance)
    total = np.zeros(4, np.int64)
    for rows in row_bands((height, width)) if width else ():
        # With the rows that outlines of this band are compared with, and one more to see by.
        begin, end = max(rows.start - reach, 0), min(rows.stop + reach, height)
        seen = slice(max(begin - 1, 0), min(end + 1, height))
        above = begin - seen.start
        true_lines, pred_lines = (
            np.ascontiguousarray(
                outlines(np.require(read_labels(labels, seen, name=name), requirements=["C", "W"]))[
                    above : above + end - begin
                ]
            )
            for labels, name in ((one, "truth"), (other, "prediction"))
        )
        start, stop = rows.start - begin, rows.stop - begin
        total += [
            *count_near(true_lines, pred_lines, start, stop, offsets),
            *count_near(pred_lines, true_lines, start, stop, offsets),
        ]
    true, true_found, pred_pixels, pred_right = map(int, total)
    return Boundary(true=true, true_found=true_found, pred=pred_pixels, pred_right=pred_right)


def _disc(radius: float) -> NDArray[np.int64]:
    """Return the offsets (N, 2) of all pixels within a distance, the nearest first."""
    reach = math.floor(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = y * y + x * x
    order = np.argsort(squared, kind="stable")
    kept = order[squared[order] <= radius * radius]
    return np.stack([y[kept], x[kept]], axis=1).astype(np.int64)
