"""How bright background and nuclei typically are in an image."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Levels"]


@attrs.frozen
class Levels:
    """The typical brightness of the background and of nuclei, and the background's noise.

    Attributes
    ----------
    background, foreground
        Brightness of background and of nuclei.
    noise
        Standard deviation of a pixel of the background.
    """

    background: float
    foreground: float
    noise: float

    @classmethod
    def of(cls, values: NDArray[np.float32], *, by_root: bool) -> Levels:
        """Return the levels of ``values``, where nuclei are brighter than the background.

        Otsu's threshold parts the two; on square roots if ``by_root``, as in fluorescence, so that
        a few very bright nuclei do not hide the dim ones. The background's level is the middle of
        the shortest interval that holds half of its pixels: a mode that neither tail can pull.
        """
        from skimage.filters import threshold_otsu

        values = np.sort(values, axis=None)
        if values[-1] - values[0] <= 1e-6:
            return cls(float(values[0]), float(values[0]), 0.0)
        parted = float(threshold_otsu(np.sqrt(values) if by_root else values))
        cut = int(np.searchsorted(values, parted**2 if by_root else parted, side="right"))
        cut = min(max(cut, 1), len(values) - 1)
        dark = values[:cut]
        half = (len(dark) + 1) // 2
        start = int(np.argmin(dark[half - 1 :] - dark[: len(dark) - half + 1]))
        background = float(dark[start + half // 2])
        below = dark[dark <= background]
        noise = 1.4826 * (background - float(np.median(below)))
        return cls(background, float(np.median(values[cut:])), noise)
