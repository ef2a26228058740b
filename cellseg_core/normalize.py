"""One brightness scale for all tiles and images, computed at native bit depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image

__all__ = [
    "PERCENTILE",
    "Brightness",
    "UpperPercentile",
    "channel_tails",
    "row_bands",
]

PERCENTILE = 99.98
"""The published choice (Lee et al. 2022): this percentile of a channel becomes white."""

_BAND_PIXELS = 2**23
_SMALLEST, _LARGEST = 1e-29, float(np.finfo(np.float32).max)


def row_bands(shape: tuple[int, int], pixels: int = _BAND_PIXELS) -> Iterator[slice]:
    """Yield slices of rows that cover an image (height, width) in pieces of about ``pixels``."""
    height, width = shape
    step = max(1, pixels // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


class UpperPercentile:
    """The exact percentile of values that arrive piece by piece.

    Only the values above the percentile are kept: 0.02 % of all for the 99.98th. Equal to
    ``numpy.percentile`` (linear interpolation) over all finite values together.

    Parameters
    ----------
    expected
        How many values will come at most.
    percentile
        Between 0 and 100; high ones need little memory.

    >>> level = UpperPercentile(1000, percentile=90)
    >>> for start in range(0, 1000, 100):
    ...     level.add(np.arange(start, start + 100))
    >>> float(level.value()) == float(np.percentile(np.arange(1000), 90))
    True
    """

    def __init__(self, expected: int, percentile: float = PERCENTILE) -> None:
        self._rank = 1 - percentile / 100
        self._keep = min(expected, math.ceil(expected * self._rank) + 2)
        self._tail: NDArray[np.float64] = np.empty(0)
        self.count = 0

    def add(self, values: NDArray[np.generic]) -> None:
        """Take in more values; NaN and infinite ones are left out."""
        flat = np.asarray(values).ravel()
        if flat.dtype.kind == "f":
            flat = flat[np.isfinite(flat)]
        self.count += flat.size
        if 0 < self._keep == self._tail.size:
            flat = flat[flat > self._tail.min()]
        tail = np.concatenate([self._tail, flat.astype(np.float64)])
        if tail.size > self._keep:
            tail = np.partition(tail, tail.size - self._keep)[-self._keep :]
        self._tail = tail

    def merge(self, other: UpperPercentile) -> None:
        """Take in everything that ``other``, made for the same total, has seen."""
        seen = self.count + other.count
        self.add(other._tail)
        self.count = seen

    def value(self) -> float:
        """Return the percentile of what came so far; NaN if nothing finite did."""
        if self.count == 0:
            return math.nan
        from_top = (self.count - 1) * self._rank
        tail = np.sort(self._tail)[::-1]
        low, part = min(int(from_top), tail.size - 1), from_top % 1
        below = tail[min(low + 1, tail.size - 1)]
        return float(tail[low] + (below - tail[low]) * part)


def channel_tails(
    image: Image, numbers: Iterable[int], expected: Mapping[str, int]
) -> dict[str, UpperPercentile]:
    """Return the upper values of each of an image's channels by name, read band by band.

    ``expected`` is how many pixels all images together have in the channel of that name.
    """
    tails = {}
    for number in numbers:
        name = image.channels[number]
        tails[name] = UpperPercentile(expected[name])
        for rows in row_bands(image.shape):
            tails[name].add(image.read(number, rows))
    return tails


@attrs.frozen
class Brightness:
    """The value of each nuclear and membrane channel that is shown as white (1.0).

    Parameters
    ----------
    levels
        White level of each channel, in the units of the file. 0 means that the channel is black
        everywhere.
    factor
        The user's correction: 2 makes everything twice as bright.
    source
        What the levels were computed from, in words.
    """

    levels: Mapping[str, float]
    factor: float = 1.0
    source: str = "all images"

    @classmethod
    def of(cls, image: Image, numbers: Iterable[int], factor: float = 1.0) -> Brightness:
        """Return the scale for some channels of one image."""
        pixels = dict.fromkeys(image.channels, math.prod(image.shape))
        tails = channel_tails(image, numbers, pixels)
        return cls.from_tails(tails, factor, "this image")

    @classmethod
    def from_tails(
        cls, tails: Mapping[str, UpperPercentile], factor: float = 1.0, source: str = "all images"
    ) -> Brightness:
        """Return the scale whose levels are the percentiles that were collected.

        Raises
        ------
        ImageError
            If a channel had no finite value at all, or its values are beyond 32-bit floats.
        """
        levels = {name: tail.value() for name, tail in tails.items()}
        for name, level in levels.items():
            if math.isnan(level):
                raise ImageError(
                    f"channel {name!r} has no finite value in {source}, only NaN or infinity. "
                    "Export the image again, or choose another channel with --nuclear."
                )
            if level > 0 and not _SMALLEST <= level <= _LARGEST:
                raise ImageError(
                    f"the brightest values of channel {name!r} in {source} are about {level:.1e}, "
                    f"and values from {_SMALLEST:g} to {_LARGEST:.1e} are told apart. Multiply the "
                    "image by a constant, and save it as 32-bit floats."
                )
        return cls({name: max(0.0, level) for name, level in levels.items()}, factor, source)

    def scale(self, pixels: NDArray[np.generic], channel: str) -> NDArray[np.float32]:
        """Return ``pixels`` as float32 in [0, 1]: white is 1, brighter is cut, NaN becomes 0."""
        level = self.levels[channel]
        if level == 0:
            return np.zeros(pixels.shape, np.float32)
        if pixels.dtype.kind == "f" and pixels.dtype.itemsize > 4:
            pixels = np.clip(pixels, -_LARGEST, _LARGEST)
        scaled = pixels.astype(np.float32)
        scaled *= np.float32(self.factor / level)
        np.nan_to_num(scaled, copy=False, nan=0.0)
        return np.clip(scaled, 0, 1, out=scaled)
