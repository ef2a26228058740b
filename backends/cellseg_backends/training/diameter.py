"""The diameter of the nuclei in a mask."""

from __future__ import annotations

import numpy as np

from cellseg_core.diameter import disc_diameter
from cellseg_core.protocols import Labels

__all__ = ["nuclear_diameter"]


def nuclear_diameter(labels: Labels) -> float | None:
    """Return the diameter in px of a disc with the median area of the nuclei, None without any.

    >>> round(nuclear_diameter(np.ones((2, 2), np.int32)), 3)
    2.257
    """
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return disc_diameter(areas) if areas.size else None
