"""The outlines of objects, as pictures show them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["inner_outlines"]


def inner_outlines(labels: NDArray[np.integer[Any]], width: int = 1) -> NDArray[np.bool_]:
    """Return the pixels (Y, X) of objects at most ``width`` px (4-neighbours) from their outside.

    The edge of the image is no outside.

    >>> inner_outlines(np.array([[0, 1, 1, 1, 2]])).tolist()
    [[False, True, False, True, True]]
    """
    outline = np.zeros(labels.shape, bool)
    for distance in range(1, width + 1):
        for here, there in (
            (np.s_[:-distance, :], np.s_[distance:, :]),
            (np.s_[:, :-distance], np.s_[:, distance:]),
        ):
            differ = labels[here] != labels[there]
            outline[here] |= differ
            outline[there] |= differ
    return outline & (labels > 0)
