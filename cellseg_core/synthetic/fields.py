"""Smooth and speckled random fields that are functions of the position alone, for simulated tissue.

A window of a field costs the window, never the slide, and equals the same window of the whole.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Waves", "draw_waves", "speckle"]

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@attrs.frozen(eq=False)
class Waves:
    """A sum of plane waves: a smooth random field of mean 0 and variance 1.

    ``rows`` and ``columns`` are the angular frequencies in radians per px, ``phases`` in radians;
    one value for each wave.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    phases: NDArray[np.float64]

    @property
    def _amplitude(self) -> float:
        return float(np.sqrt(2.0 / len(self.phases)))

    def at(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the field at the points (y, x), in px; the shape is that of ``y``."""
        total = np.zeros_like(y)
        for row, column, phase in zip(self.rows, self.columns, self.phases, strict=True):
            total += np.cos(row * y + column * x + phase)
        return total * self._amplitude

    def direction(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the angle of the contour line through each point: atan2(row, column), radians."""
        down, right = np.zeros_like(y), np.zeros_like(y)
        for row, column, phase in zip(self.rows, self.columns, self.phases, strict=True):
            slope = np.sin(row * y + column * x + phase)
            down += row * slope
            right += column * slope
        return np.asarray(np.arctan2(right, -down))

    def window(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the field on the grid of the rows ``y`` and columns ``x``: (len(y), len(x)).

        The cosine of a sum splits into products, so that this is one small matrix product.
        """
        down = np.multiply.outer(y, self.rows) + self.phases
        right = np.multiply.outer(self.columns, x)
        left = np.concatenate([np.cos(down), -np.sin(down)], axis=1).astype(np.float32)
        product = left @ np.concatenate([np.cos(right), np.sin(right)]).astype(np.float32)
        return np.asarray(product * np.float32(self._amplitude), np.float32)


def draw_waves(rng: np.random.Generator, period: float, count: int = 16) -> Waves:
    """Return ``count`` waves of random direction and phase with wavelengths around ``period`` px.

    >>> field = draw_waves(np.random.default_rng(0), period=50.0)
    >>> whole = field.window(np.arange(200.0), np.arange(300.0))
    >>> bool(np.allclose(whole[7, 5], field.at(np.array([7.0]), np.array([5.0])), atol=1e-4))
    True
    """
    length = period * np.exp(rng.uniform(np.log(0.6), np.log(1.8), count))
    angle = rng.uniform(0.0, 2 * np.pi, count)
    wave = 2 * np.pi / length
    return Waves(wave * np.sin(angle), wave * np.cos(angle), rng.uniform(0, 2 * np.pi, count))


def speckle(
    y: NDArray[np.int64], x: NDArray[np.int64], seed: int, sigma: float
) -> NDArray[np.float32]:
    """Return noise of mean 0 and variance 1 on the grid (y, x), smooth over ``sigma`` px.

    White noise is a hash of the pixel's position and the seed (the finaliser of SplitMix64,
    Steele et al. 2014), then blurred; the outer ``4 * sigma`` px of the result miss the light of
    neighbours beyond the grid, and callers leave them out.

    >>> grid = np.arange(64)
    >>> whole = speckle(grid, grid, seed=1, sigma=1.0)
    >>> part = speckle(grid[10:50], grid[20:60], seed=1, sigma=1.0)
    >>> bool(np.allclose(part[5:-5, 5:-5], whole[15:45, 25:55]))
    True
    """
    from scipy.ndimage import gaussian_filter

    row = y.astype(np.uint64)[:, np.newaxis] * _MIX[1]
    column = x.astype(np.uint64)[np.newaxis] * _MIX[2]
    mixed = (row ^ (column + np.uint64(seed % 2**64))) + _MIX[0]
    for shift, factor in ((30, _MIX[1]), (27, _MIX[2])):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    mixed ^= mixed >> np.uint64(31)
    # The upper 24 bits are exact in float32; a uniform law of width sqrt(12) has variance 1.
    white = (mixed >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    # A Gaussian of sigma keeps 1 / (4 pi sigma^2) of the variance of white noise.
    scale = np.sqrt(12.0) * 2.0 * np.sqrt(np.pi) * sigma
    return np.asarray(gaussian_filter(white, sigma) * np.float32(scale), np.float32)
