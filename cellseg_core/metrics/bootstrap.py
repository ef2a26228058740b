"""Confidence intervals by drawing images again and again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cellseg_core.metrics.figures import Sums, figures

__all__ = ["RESAMPLES", "SEED", "draws", "resampled_figures"]

RESAMPLES = 2000
SEED = 0

_VALUES = 2_000_000  # numbers in one batch of draws


def draws(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[NDArray[np.int64]]:
    """Yield how often each image is drawn: arrays (some resamples, images), ``resamples`` in all.

    In each, as many images are drawn as there are, with replacement. The same numbers and seed
    give the same draws, so that two methods evaluated on the same images, in the same order, can
    be compared draw by draw.

    >>> (counts,) = draws(3, resamples=2)
    >>> counts.sum(axis=1).tolist()
    [3, 3]
    """
    rng = np.random.default_rng(seed)
    batch = max(1, _VALUES // images)
    for start in range(0, resamples, batch):
        number = min(batch, resamples - start)
        yield rng.multinomial(images, np.full(images, 1 / images), size=number)


def resampled_figures(
    sums: Sums, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return every figure of every resample: as the mean over images, and pooled.

    ``sums`` holds an array (images,) for each name; the results one of (resamples,) for each
    figure. A mean leaves out images that have no such figure; NaN where a draw has none at all.
    """
    of_images = figures(sums)
    names, columns = list(sums), np.stack(list(sums.values()), axis=1)
    values = np.stack(list(of_images.values()), axis=1)
    known = ~np.isnan(values)
    values = np.where(known, values, 0)
    means, pooled = [], []
    for counts in draws(len(columns), resamples, seed):
        drawn = counts.astype(np.float64)
        total = drawn @ columns
        pooled.append(figures({name: total[:, n] for n, name in enumerate(names)}))
        number = drawn @ known
        means.append(np.where(number > 0, drawn @ values / np.maximum(number, 1), np.nan))
    mean = np.concatenate(means)
    return (
        {name: mean[:, n] for n, name in enumerate(of_images)},
        {name: np.concatenate([batch[name] for batch in pooled]) for name in of_images},
    )
