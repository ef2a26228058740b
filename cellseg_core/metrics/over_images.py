"""The figures of several images: the mean over images, and pooled over all objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError, ImageError
from cellseg_core.metrics.bootstrap import RESAMPLES, SEED, resampled_figures
from cellseg_core.metrics.evaluation import Evaluation
from cellseg_core.metrics.figures import SIZES, figures

__all__ = ["Estimate", "Figure", "Summary", "summary"]


@attrs.frozen
class Estimate:
    """A value with its 95 % confidence interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@attrs.frozen(kw_only=True)
class Figure:
    """One figure over several images, in the two ways that papers mix up.

    Attributes
    ----------
    mean_over_images
        The mean of the images' own figures: every image weighs the same, however many objects it
        has. An image without such a figure is left out.
    pooled
        The figure of all images taken as parts of one: every object weighs the same.
    images
        How many images have the figure.
    """

    mean_over_images: Estimate
    pooled: Estimate
    images: int


@attrs.frozen(kw_only=True)
class Summary:
    """The accuracy over several images.

    Attributes
    ----------
    images
        How many.
    true_objects, predicted_objects, splits, merges, missed, invented
        Totals.
    size_edges
        The quartiles of the areas of all true objects, in px: an area up to the first is of size
        1, up to the second of size 2, up to the third of size 3, over it of size 4. None without
        a true object.
    size_objects
        How many true objects each size has; not a quarter where many have the same area.
    tolerance
        For outlines, in px.
    resamples, seed
        Of the bootstrap.
    figures
        By name: see :func:`~cellseg_core.metrics.figures.figures`.
    """

    images: int
    true_objects: int
    predicted_objects: int
    splits: int
    merges: int
    missed: int
    invented: int
    size_edges: tuple[float, float, float] | None
    size_objects: tuple[int, ...]
    tolerance: float
    resamples: int
    seed: int
    figures: Mapping[str, Figure]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return attrs.asdict(self)


def summary(
    evaluations: Sequence[Evaluation], resamples: int = RESAMPLES, seed: int = SEED
) -> Summary:
    """Return the figures of several images, each as the mean over images and pooled.

    The confidence intervals are the 2.5th and 97.5th percentiles over ``resamples`` draws of as
    many images, with replacement (percentile bootstrap, Efron 1979). They tell how far a figure
    would move with other images of the same kind; nuclei of one image are not independent, so they
    are not drawn one by one. With one image there is no interval. The edges between sizes are
    those of all images in every draw.

    Raises
    ------
    ImageError
        If there is no image.
    ConfigurationError
        If the images were evaluated with different tolerances.

    >>> labels = np.array([[1, 1, 0, 2, 2]])
    >>> images = [Evaluation.of(labels, labels), Evaluation.of(labels[:, :3], labels[:, :3] * 0)]
    >>> ap = summary(images).figures["ap_50"]
    >>> ap.mean_over_images.value, round(ap.pooled.value, 3)
    (0.5, 0.667)
    """
    if not evaluations:
        raise ImageError("there is no image to evaluate.")
    tolerances = sorted({one.tolerance for one in evaluations})
    if len(tolerances) > 1:
        raise ConfigurationError(
            "the images were evaluated with different tolerances for outlines "
            f"({', '.join(f'{one:g}' for one in tolerances)} px). Take one for all."
        )
    rows = [one.sums() for one in evaluations]
    sums = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    edges, by_size = _by_size(evaluations)
    sums |= by_size
    of_images = figures(sums)
    pooled = figures({name: np.asarray(values.sum()) for name, values in sums.items()})
    drawn_mean: Mapping[str, NDArray[np.float64]] = {}
    drawn_pooled: Mapping[str, NDArray[np.float64]] = {}
    if len(evaluations) > 1:
        drawn_mean, drawn_pooled = resampled_figures(sums, resamples, seed)
    found = {}
    for name, values in of_images.items():
        known = values[~np.isnan(values)]
        mean = float(known.mean()) if known.size else np.nan
        found[name] = Figure(
            mean_over_images=_estimate(mean, drawn_mean.get(name)),
            pooled=_estimate(float(pooled[name]), drawn_pooled.get(name)),
            images=known.size,
        )
    total = {name: int(values.sum()) for name, values in sums.items() if name != "iou"}
    return Summary(
        images=len(evaluations),
        true_objects=total["true"],
        predicted_objects=total["predicted"],
        splits=total["splits"],
        merges=total["merges"],
        missed=total["missed"],
        invented=total["invented"],
        size_edges=edges,
        size_objects=tuple(total[f"true_size_{size}"] for size in range(1, SIZES + 1)),
        tolerance=tolerances[0],
        resamples=resamples,
        seed=seed,
        figures=found,
    )


def _by_size(
    evaluations: Sequence[Evaluation],
) -> tuple[tuple[float, float, float] | None, dict[str, NDArray[np.float64]]]:
    """Return the quartiles of the true areas, and true and found objects by size and image."""
    areas = np.concatenate([one.true_areas for one in evaluations])
    quartiles = np.quantile(areas, [0.25, 0.5, 0.75]) if areas.size else np.zeros(3)
    counts = np.zeros((len(evaluations), 2, SIZES))
    for one, count in zip(evaluations, counts, strict=True):
        size = np.searchsorted(quartiles, one.true_areas, side="left")
        count[0] = np.bincount(size, minlength=SIZES)
        count[1] = np.bincount(size[one.true_iou > 0], minlength=SIZES)
    by_size = {
        f"{what}_size_{size + 1}": counts[:, place, size]
        for place, what in enumerate(("true", "found"))
        for size in range(SIZES)
    }
    first, second, third = map(float, quartiles)
    return (first, second, third) if areas.size else None, by_size


def _estimate(value: float, drawn: NDArray[np.float64] | None) -> Estimate:
    if np.isnan(value):
        return Estimate(None)
    drawn = np.zeros(0) if drawn is None else drawn[~np.isnan(drawn)]
    if not drawn.size:
        return Estimate(value)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
