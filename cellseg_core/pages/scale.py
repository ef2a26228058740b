"""Scale bars of pictures."""

from __future__ import annotations

import math

__all__ = ["bar_length"]


def bar_length(extent: float, pixel_size: float | None) -> tuple[float, str]:
    """Return the length in px of a scale bar for a crop ``extent`` px wide, and what it says.

    It is 1, 2 or 5 times a power of ten, in um where the pixel size is known, and takes up to a
    third of the width.

    >>> bar_length(64, None), bar_length(100, 0.5)
    ((20.0, '20 px'), (20.0, '10 µm'))
    """
    size = 1.0 if pixel_size is None else pixel_size
    longest = extent * size / 3
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
    unit = "px" if pixel_size is None else "\u00b5m"
    return length / size, f"{length:g} {unit}"
