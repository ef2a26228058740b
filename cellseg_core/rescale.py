"""Tiles at the size that a segmenter expects, on one grid for the whole image.

The rescaled image exists only in windows. Every window samples the same global grid, so that two
tiles agree on their common pixels to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.scaled import ScaledImage
from cellseg_core.tiling import Box

__all__ = ["Rescaled"]


@attrs.frozen(eq=False)
class Rescaled:
    """Windows of an image magnified by ``factor`` (linear interpolation, smoothed to shrink).

    Parameters
    ----------
    source
        The image at its own size.
    factor
        Magnification: 2 makes nuclei twice as large. The height and width of the whole rescaled
        image are rounded to whole pixels.
    """

    source: ScaledImage
    factor: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Return (height, width) of the whole rescaled image."""
        height, width = self.source.shape
        return max(1, round(height * self.factor)), max(1, round(width * self.factor))

    def window(self, box: Box, grid: int = 1) -> Box:
        """Return the window of the rescaled image that covers ``box``, given in px of the source.

        It begins at multiples of ``grid``.
        """
        (height, width), (full_height, full_width) = self.source.shape, self.shape
        return Box(
            box.y0 * full_height // height // grid * grid,
            -(-box.y1 * full_height // height),
            box.x0 * full_width // width // grid * grid,
            -(-box.x1 * full_width // width),
        )

    def read(self, window: Box) -> NDArray[np.float32]:
        """Return the pixels (C, y, x) of ``window``, which is in px of the rescaled image."""
        if self.shape == self.source.shape:
            return self.source.read(*window.slices)
        ratios = [n / m for n, m in zip(self.source.shape, self.shape, strict=True)]
        sigmas = [max(0.0, (ratio - 1) / 2) for ratio in ratios]
        # One more pixel than the interpolation reads, and the reach of the smoothing.
        margin = max(
            math.ceil(ratio) + math.ceil(4 * sigma) + 1
            for ratio, sigma in zip(ratios, sigmas, strict=True)
        )
        covered = Box(
            *(int(edge * ratios[0]) for edge in (window.y0, window.y1)),
            *(int(edge * ratios[1]) for edge in (window.x0, window.x1)),
        )
        outer = covered.grown(margin, self.source.shape)
        pixels = self.source.read(*outer.slices)
        if any(sigmas):
            from scipy.ndimage import gaussian_filter

            pixels = gaussian_filter(pixels, (0, *sigmas), mode="nearest")
        for axis, (start, stop, ratio, offset, length) in enumerate(
            (
                (window.y0, window.y1, ratios[0], outer.y0, self.source.shape[0]),
                (window.x0, window.x1, ratios[1], outer.x0, self.source.shape[1]),
            ),
            start=1,
        ):
            centres = np.clip((np.arange(start, stop) + 0.5) * ratio - 0.5, 0, length - 1)
            low = np.minimum(centres.astype(np.int64), max(0, length - 2))
            high = np.minimum(low + 1, length - 1)
            weight = (centres - low).astype(np.float32)
            weight = weight[:, np.newaxis] if axis == 1 else weight
            below = np.take(pixels, low - offset, axis=axis)
            above = np.take(pixels, high - offset, axis=axis)
            pixels = (below + (above - below) * weight).astype(np.float32, copy=False)
        return pixels

    def to_source(
        self, labels: NDArray[np.integer[Any]], window: Box, box: Box
    ) -> NDArray[np.integer[Any]]:
        """Return ``labels``, found on ``read(window)``, as they cover ``box`` of the source."""
        if self.shape == self.source.shape:
            return labels[box.within(window)]
        rows, columns = (
            np.minimum(((np.arange(start, stop) + 0.5) * m / n).astype(np.int64), m - 1) - offset
            for start, stop, n, m, offset in (
                (box.y0, box.y1, self.source.shape[0], self.shape[0], window.y0),
                (box.x0, box.x1, self.source.shape[1], self.shape[1], window.x0),
            )
        )
        mapped: NDArray[np.integer[Any]] = labels[rows[:, np.newaxis], columns]
        return mapped
