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

__all__ = ["Rescaled", "around", "interpolated"]


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
        """Return the window of the rescaled image that shows ``box``, given in px of the source.

        It covers the box, holds the pixels around the centre of every pixel of it, and begins at
        multiples of ``grid``.
        """
        inner = around(box, self.source.shape, self.shape)
        (height, width), (tall, wide) = self.source.shape, self.shape
        top = min(inner.y0, box.y0 * tall // height)
        left = min(inner.x0, box.x0 * wide // width)
        return Box(
            top // grid * grid,
            max(inner.y1, -(-box.y1 * tall // height)),
            left // grid * grid,
            max(inner.x1, -(-box.x1 * wide // width)),
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
        return interpolated(pixels, outer, self.source.shape, window, self.shape)

    def to_source(
        self, labels: NDArray[np.integer[Any]], window: Box, box: Box
    ) -> NDArray[np.integer[Any]]:
        """Return ``labels``, found on ``read(window)``, as they cover ``box`` of the source.

        A pixel gets the label that has most of the weight in a linear interpolation between the
        four pixels around its centre, so that outlines stay smooth where nuclei are magnified;
        the upper left of them wins a tie.
        """
        if self.shape == self.source.shape:
            return labels[box.within(window)]
        (top, down), (left, across) = (
            _around(start, stop, length, full)
            for start, stop, length, full in (
                (box.y0, box.y1, self.source.shape[0], self.shape[0]),
                (box.x0, box.x1, self.source.shape[1], self.shape[1]),
            )
        )
        rows = (top - window.y0, np.minimum(top + 1, self.shape[0] - 1) - window.y0)
        columns = (left - window.x0, np.minimum(left + 1, self.shape[1] - 1) - window.x0)
        corners = [labels[row[:, np.newaxis], column] for row in rows for column in columns]
        mapped: NDArray[np.integer[Any]] = corners[0].copy()
        mixed = np.nonzero(np.any([corner != mapped for corner in corners[1:]], axis=0))
        seen = np.stack([corner[mixed] for corner in corners])
        down, across = down[mixed[0]], across[mixed[1]]
        share = np.stack(
            [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]
        )
        total = np.stack([np.sum(share, axis=0, where=seen == one) for one in seen])
        mapped[mixed] = np.take_along_axis(seen, total.argmax(axis=0)[np.newaxis], axis=0)[0]
        return mapped


def around(box: Box, shape: tuple[int, int], resized: tuple[int, int]) -> Box:
    """Return the px of an image brought to the size ``resized`` around the centres of a ``box``.

    ``box`` is in px of the image at its own ``shape``. What :func:`interpolated` needs to bring
    the resized image back.

    >>> around(Box(10, 20, 0, 5), (100, 100), (50, 50))
    Box(y0=4, y1=11, x0=0, x1=3)
    """
    edges = []
    for start, stop, length, full in (
        (box.y0, box.y1, shape[0], resized[0]),
        (box.x0, box.x1, shape[1], resized[1]),
    ):
        low, _ = _around(start, start + 1, length, full)
        high, _ = _around(stop - 1, stop, length, full)
        edges += [int(low[0]), min(int(high[0]) + 2, full)]
    return Box(*edges)


def interpolated(
    pixels: NDArray[np.float32],
    box: Box,
    shape: tuple[int, int],
    window: Box,
    resized: tuple[int, int],
) -> NDArray[np.float32]:
    """Return the part ``window`` of an image, of size ``shape``, brought to the size ``resized``.

    Linear between the two nearest pixels on each axis, with centres of pixels where
    ``cv2.resize`` has them; beyond the edge of the image the last pixel goes on.

    Parameters
    ----------
    pixels
        (C, y, x), the part ``box`` of the image, which holds all that ``window`` is made from.
    """
    for axis, (start, stop, full, offset, length) in enumerate(
        (
            (window.y0, window.y1, resized[0], box.y0, shape[0]),
            (window.x0, window.x1, resized[1], box.x0, shape[1]),
        ),
        start=1,
    ):
        low, weight = _around(start, stop, full, length)
        high = np.minimum(low + 1, length - 1)
        weight = weight[:, np.newaxis] if axis == 1 else weight
        below = np.take(pixels, low - offset, axis=axis)
        above = np.take(pixels, high - offset, axis=axis)
        pixels = (below + (above - below) * weight).astype(np.float32, copy=False)
    return pixels


def _around(
    start: int, stop: int, length: int, other: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return where the centres of pixels ``start`` to ``stop`` lie on an axis of another size.

    ``length`` px of this axis are ``other`` px of the other. The result is the pixel of the other
    axis before each centre, and the weight in [0, 1] of the pixel after it.
    """
    centres = np.clip((np.arange(start, stop) + 0.5) * (other / length) - 0.5, 0, other - 1)
    low = np.minimum(centres.astype(np.int64), max(0, other - 2))
    return low, (centres - low).astype(np.float32)
