"""The compiled loops that paint a window of a stitched label image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.compiled import kernel

__all__ = ["claim", "rename"]


@kernel
def claim(window: NDArray[np.int32], labels: NDArray[np.int32], ranks: NDArray[np.int32]) -> None:
    """Give each pixel of ``window`` (Y, X) to the object of ``labels`` (Y, X) if it ranks lower.

    ``ranks`` is the rank of each label; that of background is not looked at.
    """
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label:
                window[y, x] = min(window[y, x], ranks[label])


@kernel
def rename(window: NDArray[np.int32], ids: NDArray[np.int32]) -> None:
    """Replace each value of ``window`` (Y, X) by ``ids[value]``."""
    height, width = window.shape
    for y in range(height):
        for x in range(width):
            window[y, x] = ids[window[y, x]]
