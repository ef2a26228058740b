"""The contrast in which the network sees an image: background near 0, typical nuclei near 1."""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_backends.levels import Levels
from cellseg_core.diameter import is_bright_field

__all__ = ["Contrast", "compressed"]

_SAMPLE = 250_000
_LEAST_CONTRAST = 0.01
_NOISE = 8.0
_CURVE = 3.0


def compressed(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the network is given: linear near the background, logarithmic far above it.

    0 and 1 stay; a nucleus eight times as bright as the typical one comes out at 2.1, so that the
    dim and the bright ones of one image lie within reach of the same filters.
    """
    curved: NDArray[np.float32] = np.arcsinh(contrast * np.float32(_CURVE))
    curved /= np.float32(math.asinh(_CURVE))
    return curved


@attrs.frozen(kw_only=True)
class Contrast:
    """A linear scale for one image: ``background`` becomes 0, ``background + step`` becomes 1.

    Attributes
    ----------
    dark_nuclei
        Bright field: brightness is first turned into 1 - brightness.
    """

    dark_nuclei: bool
    background: float
    step: float

    @classmethod
    def of(cls, plane: NDArray[np.float32], dark_nuclei: bool | None = None) -> Contrast:
        """Return the scale for an image.

        Parameters
        ----------
        plane
            Pixels of the image on a regular grid, in [0, 1], of any shape.
        dark_nuclei
            None: told by :func:`~cellseg_core.diameter.is_bright_field`.

        Notes
        -----
        Where there is nothing but noise, the step is eight times its standard deviation, and a
        hundredth of the whole range at least: empty images stay dark.
        """
        step = max(1, math.isqrt(plane.size // _SAMPLE)) if plane.ndim > 1 else 1
        values = plane[::step, ::step].ravel() if plane.ndim > 1 else plane
        if dark_nuclei is None:
            dark_nuclei = is_bright_field(values)
        if dark_nuclei:
            values = 1 - values
        levels = Levels.of(values, by_root=not dark_nuclei)
        return cls(
            dark_nuclei=dark_nuclei,
            background=levels.background,
            step=max(levels.foreground - levels.background, _NOISE * levels.noise, _LEAST_CONTRAST),
        )

    def apply(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the plane on this scale, float32."""
        shown = np.float32(1) - plane if self.dark_nuclei else plane
        return (shown - np.float32(self.background)) / np.float32(self.step)
