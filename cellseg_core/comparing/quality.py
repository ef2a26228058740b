"""How well nuclei fit the nuclear stain of their image: quality without a truth.

The figures follow what the field has: homogeneity inside objects, and how much of the foreground
they hold (Chen & Murphy, Molecular Biology of the Cell 34, ar50, 2023), with the contrast to the
surroundings and the slope on outlines for the one stain that every image has. Each tells of some
mistakes and is blind to others, as :data:`FIGURES` says; none replaces a truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.label_image import check_labels, read_labels
from cellseg_core.objects import compact

__all__ = ["FIGURES", "REACH", "Figure", "Quality", "foreground_level", "measure_quality"]

REACH = 3
"""How far the surroundings of a nucleus, and the two sides of its outline, reach, in px."""

_BINS = 1024


@attrs.frozen
class Figure:
    """What a figure means.

    Attributes
    ----------
    name
        The field of :class:`Quality`.
    meaning
        One sentence for readers of a report, with what the figure cannot see.
    low, high
        Its range.
    better
        ``"higher"``, or ``"neither"`` where it only describes.
    """

    name: str
    meaning: str
    low: float
    high: float
    better: str = "higher"

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return attrs.asdict(self)


FIGURES = (
    Figure(
        "explained",
        "Share of the variance of the stain over the image that lies between nuclei and "
        "background and not within them; it falls where nuclei are missed, displaced, joined, too "
        "large or too small, and cannot see that one is cut in two, or objects without stain.",
        0.0,
        1.0,
    ),
    Figure(
        "uniformity",
        "How even the stain is inside a nucleus: 1 / (1 + standard deviation / mean), the median "
        "over nuclei; it falls where nuclei reach into the background, and hardly where some are "
        "joined; it cannot see that they are too small, cut or missed.",
        0.0,
        1.0,
    ),
    Figure(
        "contrast",
        "Stain inside a nucleus against the background within 3 px around it: (inside - outside) "
        "/ (inside + outside), the median over nuclei; it falls where nuclei are displaced, too "
        "small, or not there at all, and cannot see that they are too large or missed.",
        -1.0,
        1.0,
    ),
    Figure("contrast_lower", "The lower quartile of the contrast of nuclei.", -1.0, 1.0),
    Figure("contrast_upper", "The upper quartile of the contrast of nuclei.", -1.0, 1.0),
    Figure(
        "alignment",
        "Steepness of the stain on a nucleus's outline against that within 3 px on both sides: "
        "(on - beside) / (on + beside), the median over nuclei; it falls where outlines are "
        "displaced, too wide, too narrow or cut through nuclei, and cannot see missed nuclei.",
        -1.0,
        1.0,
    ),
    Figure(
        "captured",
        "Share of the stain of the foreground (brighter than Otsu's threshold of the image) that "
        "lies inside nuclei, so that 1 minus it is missed; it falls where nuclei are missed or "
        "too small, and cannot see that they are joined, cut or too large.",
        0.0,
        1.0,
    ),
    Figure("coverage", "Share of the image that nuclei cover.", 0.0, 1.0, "neither"),
)
"""What each figure of :class:`Quality` means, in the order in which a report shows them."""


@attrs.frozen(kw_only=True)
class Quality:
    """The figures of one image, described in :data:`FIGURES`; None where one cannot be known.

    ``nuclei`` is their number, ``measured`` how many of them have a background around them, so
    that their contrast is known.
    """

    nuclei: int
    measured: int
    explained: float | None
    uniformity: float | None
    contrast: float | None
    contrast_lower: float | None
    contrast_upper: float | None
    alignment: float | None
    captured: float | None
    coverage: float

    @classmethod
    def mean(cls, qualities: Iterable[Self]) -> dict[str, float | None]:
        """Return the mean of each figure over the images where it is known; None where in none.

        Each image counts alike.
        """
        every = list(qualities)
        means: dict[str, float | None] = {}
        for figure in FIGURES:
            values = [getattr(quality, figure.name) for quality in every]
            known = [value for value in values if value is not None]
            means[figure.name] = math.fsum(known) / len(known) if known else None
        return means

    def facts(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return attrs.asdict(self)


def foreground_level(plane: NDArray[np.floating[Any]]) -> float | None:
    """Return Otsu's threshold of the nuclear plane: brighter pixels are foreground.

    It is found on the square root of the stain (a histogram of 1024 bins), on which dim nuclei
    are nearer to bright ones than to the background. It depends on the image alone, so that it
    serves all methods; None where the plane has one value only.

    Parameters
    ----------
    plane
        (Y, X), from 0 to 1.
    """
    from skimage.filters import threshold_otsu

    from cellseg_core.normalize import row_bands

    counts = np.zeros(_BINS, np.int64)
    for rows in row_bands((plane.shape[0], plane.shape[1])) if plane.size else ():
        counts += np.histogram(np.sqrt(plane[rows]), _BINS, (0.0, 1.0))[0]
    if np.count_nonzero(counts) < 2:
        return None
    centres = (np.arange(_BINS) + 0.5) / _BINS
    found = float(threshold_otsu(hist=(counts, centres)))
    # The threshold is the centre of the last bin of the background.
    return (found + 0.5 / _BINS) ** 2


def measure_quality(nuclei: NDArray[np.integer[Any]], plane: NDArray[np.floating[Any]]) -> Quality:
    """Return how well the nuclei of one image fit its nuclear stain.

    Parameters
    ----------
    nuclei
        Label image (Y, X), 0 is background.
    plane
        (Y, X), from 0 to 1: the nuclear stain on the brightness scale of the run. float32 is not
        copied.

    Raises
    ------
    ImageError
        If their sizes differ, one of them has not the axes (Y, X), or the stain is not from 0 to 1.

    >>> plane = np.zeros((12, 12), np.float32)
    >>> plane[3:8, 4:9] = 0.5
    >>> quality = measure_quality((plane > 0).astype(np.int32), plane)
    >>> quality.explained, quality.uniformity, quality.contrast, quality.captured
    (1.0, 1.0, 1.0, 1.0)
    """
    from cellseg_core.comparing.quality_kernels import sum_stain

    labels = read_labels(check_labels(nuclei))
    plane = np.ascontiguousarray(plane, np.float32)
    if plane.shape != labels.shape:
        raise ImageError(
            f"nuclei and nuclear plane must have one size (Y, X); got {labels.shape} and "
            f"{plane.shape}."
        )
    if plane.size and not (plane.min() >= 0 and plane.max() <= 1):
        raise ImageError(
            "the nuclear plane has values from 0 to 1, without NaN; this one has values from "
            f"{plane.min():g} to {plane.max():g}. Scale it with Brightness.scale."
        )
    if labels.dtype != np.int32 or int(labels.max(initial=0)) > labels.size:
        labels, _ = compact(labels)
    level = foreground_level(plane)
    sums = np.zeros((int(labels.max(initial=0)) + 1, 9))
    bright = np.zeros(2)
    threshold = math.inf if level is None else level
    sum_stain(
        np.ascontiguousarray(labels, np.int32), plane, _around(REACH), threshold, sums, bright
    )
    there = sums[1:][sums[1:, 0] > 0]
    contrast = _contrast(there[:, :2], there[:, 3:5])
    lower, middle, upper = _quartiles(contrast)
    return Quality(
        nuclei=len(there),
        measured=int(np.isfinite(contrast).sum()),
        explained=_explained(sums),
        uniformity=_quartiles(_uniformity(there))[1],
        contrast=middle,
        contrast_lower=lower,
        contrast_upper=upper,
        alignment=_quartiles(_contrast(there[:, 5:7], there[:, 7:9]))[1],
        captured=float(bright[1] / bright[0]) if bright[0] else None,
        coverage=float(there[:, 0].sum() / labels.size) if labels.size else 0.0,
    )


def _around(reach: int) -> NDArray[np.int64]:
    """Return the offsets (F, 2) within a distance in px: the nearest first, in reading order."""
    steps = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    squares = (offsets**2).sum(axis=1)
    offsets, squares = offsets[squares > 0], squares[squares > 0]
    near = squares <= reach**2
    order = np.argsort(squares[near], kind="stable")
    return np.ascontiguousarray(offsets[near][order], np.int64)


def _explained(sums: NDArray[np.float64]) -> float | None:
    """Return the share of the variance of the stain that lies between the rows."""
    groups = sums[sums[:, 0] > 0]
    pixels, stain, squares = groups[:, :3].sum(axis=0)
    variation = squares - stain**2 / pixels if pixels else 0.0
    # Rounding leaves about 1e-16 of the sum of squares where the stain is the same everywhere.
    if variation <= 1e-12 * squares:
        return None
    within = squares - (groups[:, 1] ** 2 / groups[:, 0]).sum()
    return float(np.clip(1 - within / variation, 0, 1))


def _uniformity(groups: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + standard deviation / mean) of each nucleus; NaN where its stain is 0."""
    mean = groups[:, 1] / groups[:, 0]
    variance = np.maximum(groups[:, 2] / groups[:, 0] - mean**2, 0)
    return _ratio(mean, mean + np.sqrt(variance))


def _contrast(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (a - b) / (a + b) of the means of two sets of pixels, given as (N, 2) counts and sums.

    NaN where a set is empty or both are 0.
    """
    a, b = _ratio(one[:, 1], one[:, 0]), _ratio(other[:, 1], other[:, 0])
    return _ratio(a - b, a + b)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(above.shape, np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _quartiles(values: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Return the quartiles of the values that are known; None without any."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None, None, None
    lower, middle, upper = (float(value) for value in np.quantile(known, (0.25, 0.5, 0.75)))
    return lower, middle, upper
