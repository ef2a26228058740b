"""How the nuclear stain becomes a gray picture on which outlines can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELL", "DIMMEST_WHITE", "GAMMA", "NUCLEUS", "PALE", "WHITE", "magnified", "reduced"]

# Seen by people of any colour vision on gray: orange for nuclei, blue for grown cells.
NUCLEUS = (255, 170, 0)
CELL = (60, 160, 255)

WHITE = 215
"""Brightest gray: below 255, so that outlines stand out on bright nuclei."""

PALE = 165
"""The same where the background is bright."""

DIMMEST_WHITE = 0.02
"""Least value on the brightness scale that is shown as white."""

GAMMA = 0.6
"""Exponent that lifts dim nuclei into sight."""


def magnified(plane: NDArray[Any], zoom: int) -> NDArray[Any]:
    """Return a plane (Y, X) or picture (Y, X, 3) in which each pixel is a square of ``zoom`` px."""
    return plane.repeat(zoom, axis=0).repeat(zoom, axis=1) if zoom > 1 else plane


def reduced(plane: NDArray[np.floating[Any]], step: int) -> NDArray[np.floating[Any]]:
    """Return means of squares of ``step`` px; what is over at the end is a part of a square.

    >>> reduced(np.array([[1.0, 3.0, 8.0]]), 2).tolist()
    [[2.0, 8.0]]
    """
    if step == 1:
        return plane
    rows, columns = (np.arange(0, length, step) for length in plane.shape)
    sums = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    sizes = [
        np.diff([*starts, length])
        for starts, length in zip((rows, columns), plane.shape, strict=True)
    ]
    means: NDArray[np.floating[Any]] = sums / np.outer(*sizes)
    return means
