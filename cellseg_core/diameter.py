"""The typical diameter of the nuclei in an image, for runs in which the user does not give it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["disc_diameter", "estimate_diameter", "is_bright_field"]

_SMALLEST, _LARGEST = 4.0, 150.0
_LEAST_SIDE = 16
_PIXELS = 1 << 20
_CROPS = 4

_STEP = 2 ** (1 / 3)  # from one scale to the next
_FIRST_SIGMA = 1.2
_LAST_SIGMA = 64.0
# A disc of diameter d answers strongest to the Laplacian of a Gaussian of sigma d / sqrt(8).
_DISC = math.sqrt(8)
_HALVE_FROM = 3.2  # a sigma in px that a grid of half the size still carries
_POWER = 3
_GAMMA = 0.7  # lifts dim nuclei beside bright ones
# Fitted on the training images of the 2018 Data Science Bowl, lymph node and spleen: nuclei in a
# crowd answer to smaller scales, because their neighbours fill the surround.
_ALONE, _CROWDED = 0.82, 1.25


def estimate_diameter(plane: NDArray[np.floating]) -> float | None:
    """Return the typical nuclear diameter in px, or None where the plane does not tell.

    It is the scale at which bright blobs stand out most from their surroundings: differences of
    Gaussians in steps of a third of an octave (Lindeberg 1998), each averaged over the plane as
    the cube of its positive part; the scale of the largest average, corrected for crowding by
    the share of the plane that nuclei take.

    Parameters
    ----------
    plane
        Nuclear image (Y, X), finite, in [0, 1]: fluorescence, or bright field with dark nuclei
        (see :func:`is_bright_field`). Of a plane over a megapixel, one to four evenly spread
        windows are used.

    Returns
    -------
    float or None
        From 4 to 150 px. None if the plane is constant, shorter than 16 px along a side, or has
        no blobs of such a size that stand out from noise.

    >>> y, x = np.mgrid[:120, :120]
    >>> discs = ((y % 40 - 20) ** 2 + (x % 40 - 20) ** 2 < 8**2).astype(np.float32)
    >>> 12 < estimate_diameter(discs) < 20
    True
    >>> estimate_diameter(np.zeros((64, 64))) is None
    True
    """
    if min(plane.shape) < _LEAST_SIDE:
        return None
    crops = _crops(plane)
    values = crops.ravel()
    if is_bright_field(values):
        crops, values = 1 - crops, 1 - values
    low, high = np.quantile(values, (0.01, 0.999))
    if high - low < 1e-6:
        return None
    crops = np.clip((crops - low) / (high - low), 0, 1) ** np.float32(_GAMMA)
    sigma = _strongest_scale(crops)
    if sigma is None:
        return None
    diameter = _DISC * sigma * _ALONE * 2 ** (_CROWDED * _filled(crops, sigma) ** 2)
    return float(np.clip(diameter, _SMALLEST, _LARGEST))


def disc_diameter(areas: NDArray[np.integer[Any]]) -> float:
    """Return the diameter in px of the disc that has the median of areas (N,) in px, N > 0.

    >>> round(disc_diameter(np.array([100, 314, 900])), 1)
    20.0
    """
    return math.sqrt(float(np.median(areas)) * 4 / math.pi)


def is_bright_field(values: NDArray[np.floating]) -> bool:
    """Return True for dark nuclei on a bright background, False for fluorescence.

    In stained tissue most pixels are bright; either even the darkest let light through, or the
    dark ones are the tail of the distribution; and values reach at least half as far below the
    middle as above it, unlike those of sparse nuclei over a camera's offset. (In the 2018 Data
    Science Bowl they reach 1.0 times as far at least where stained, 0.22 times at most in
    fluorescence.) ``values`` in [0, 1], of any shape, not empty.

    >>> is_bright_field(np.array([0.3, 0.8, 0.85, 0.9, 0.9]))
    True
    """
    lowest, low, middle, high, highest = np.quantile(values, (0.0005, 0.005, 0.5, 0.995, 0.9995))
    mostly_bright = middle > 0.5 * high
    dark_tail = low > 0.25 * high or middle - low > 0.6 * (high - low)
    falls = middle - lowest > 0.5 * (highest - middle)
    return bool(mostly_bright and dark_tail and falls and high - low > 0.02)


def _crops(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return windows (N, y, x) of the plane, together a megapixel at most; the same every time."""
    height, width = plane.shape
    if height * width <= _PIXELS:
        return np.asarray(plane, np.float32)[np.newaxis]
    rows = min(_CROPS, max(1, height // 512))
    columns = min(_CROPS, max(1, width // 512))
    while rows * columns > _CROPS:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    tall = min(height, 512)
    wide = min(width, _PIXELS // (rows * columns * tall))
    tall = min(height, _PIXELS // (rows * columns * wide))
    tops = [round((height - tall) * (i + 0.5) / rows) for i in range(rows)]
    lefts = [round((width - wide) * (i + 0.5) / columns) for i in range(columns)]
    return np.stack(
        [
            np.asarray(plane[top : top + tall, left : left + wide], np.float32)
            for top in tops
            for left in lefts
        ]
    )


def _strongest_scale(crops: NDArray[np.float32]) -> float | None:
    """Return the sigma in px at which blobs answer most, None if finer is always stronger."""
    from scipy import ndimage

    answers: list[float] = []
    sigmas: list[float] = []
    sigma, grid = _FIRST_SIGMA, 1
    half_step = math.sqrt(_STEP)
    while sigma <= _LAST_SIGMA:
        while sigma / grid >= _HALVE_FROM and min(crops.shape[1:]) >= _LEAST_SIDE:
            crops, grid = _halved(crops), 2 * grid
        if 2 * sigma / grid > min(crops.shape[1:]):
            break
        fine, coarse = (
            ndimage.gaussian_filter(crops, (0, width, width), truncate=3.0)
            for width in (sigma / grid / half_step, sigma / grid * half_step)
        )
        answers.append(float(np.mean(np.maximum(fine - coarse, 0) ** _POWER)))
        sigmas.append(sigma)
        sigma *= _STEP
    inner = [i for i in range(1, len(answers) - 1) if answers[i - 1] < answers[i] >= answers[i + 1]]
    if not inner:
        return None
    best = max(inner, key=lambda i: answers[i])
    before, at, after = np.log(np.maximum(answers[best - 1 : best + 2], 1e-30))
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend else 0.0
    return float(sigmas[best] * _STEP**shift)


def _halved(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    count, height, width = crops.shape
    pairs = crops[:, : height // 2 * 2, : width // 2 * 2]
    halved: NDArray[np.float32] = pairs.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4))
    return halved


def _filled(crops: NDArray[np.float32], sigma: float) -> float:
    """Return the share of the pixels that nuclei take, by Otsu's threshold."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    width = 0.3 * sigma
    smooth = ndimage.gaussian_filter(crops, (0, width, width), truncate=3.0)
    return float(np.mean(smooth > threshold_otsu(smooth)))
