"""The contrast in which StarDist and Cellpose know images: between two percentiles of an image."""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.diameter import is_bright_field

__all__ = ["PercentileScale"]

_SAMPLE = 2**20
_LEAST_RANGE = 0.01


@attrs.frozen(kw_only=True)
class PercentileScale:
    """A linear scale for one image: ``low`` becomes 0 and ``high`` becomes 1, beyond them too.

    Attributes
    ----------
    dark_nuclei
        Bright field: brightness is first turned into 1 - brightness.
    low, high
        Brightness in [0, 1], after that.
    """

    dark_nuclei: bool
    low: float
    high: float

    @classmethod
    def of(
        cls,
        plane: NDArray[np.float32],
        percentiles: tuple[float, float],
        dark_nuclei: bool | None = None,
    ) -> PercentileScale:
        """Return the scale for an image, the same for all of its tiles.

        Parameters
        ----------
        plane
            Pixels of the whole image, or on a regular grid over it, in [0, 1].
        percentiles
            Low and high, 0 to 100.
        dark_nuclei
            None: told by :func:`~cellseg_core.diameter.is_bright_field`.

        Notes
        -----
        The range is a hundredth of the brightness scale at least: black images stay black.

        >>> PercentileScale.of(np.linspace(0, 1, 101, dtype=np.float32)[None], (1, 99), False)
        PercentileScale(dark_nuclei=False, low=0.01, high=0.99)
        """
        step = max(1, math.isqrt(plane.size // _SAMPLE))
        values = plane[::step, ::step]
        if dark_nuclei is None:
            dark_nuclei = is_bright_field(values)
        if dark_nuclei:
            values = 1 - values
        low, high = (round(float(value), 6) for value in np.percentile(values, percentiles))
        return cls(dark_nuclei=dark_nuclei, low=low, high=max(high, low + _LEAST_RANGE))

    def apply(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the plane on this scale, float32, a new array."""
        shown = np.float32(1) - plane if self.dark_nuclei else plane
        return (shown - np.float32(self.low)) / np.float32(self.high - self.low)
