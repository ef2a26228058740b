"""How the nuclear stain becomes a gray picture, with outlines on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.diameter import is_bright_field
from cellseg_core.outlines import inner_outlines

__all__ = [
    "CELL",
    "DIMMEST_WHITE",
    "GAMMA",
    "NUCLEUS",
    "PALE",
    "WHITE",
    "Colour",
    "Tone",
    "magnified",
    "overlaid",
    "reduced",
]

Colour = tuple[int, int, int]

# Seen by people of any colour vision on gray: orange for nuclei, blue for grown cells.
NUCLEUS: Colour = (255, 170, 0)
CELL: Colour = (60, 160, 255)

WHITE = 215
"""Brightest gray: below 255, so that outlines stand out on bright nuclei."""

PALE = 165
"""The same where the background is bright."""

DIMMEST_WHITE = 0.02
"""Least value on the brightness scale that is shown as white."""

GAMMA = 0.6
"""Exponent that lifts dim nuclei into sight."""


@attrs.frozen
class Tone:
    """How values from 0 to 1 are shown as gray.

    Attributes
    ----------
    white
        The value that is shown as white.
    gamma
        Exponent that lifts dim nuclei into sight.
    palest
        The gray of white.
    """

    white: float = 1.0
    gamma: float = GAMMA
    palest: int = WHITE

    @classmethod
    def of(cls, sample: NDArray[np.floating[Any]], gamma: float = GAMMA) -> Tone:
        """Return the tone for an image of which ``sample`` is a part or a thinned copy.

        An image that is dim is shown brighter, so that its nuclei can be seen.
        """
        return cls(max(DIMMEST_WHITE, float(np.percentile(sample, 99.8))), gamma)

    @classmethod
    def suited(cls, sample: NDArray[np.floating[Any]]) -> Tone:
        """Return the same, and for a bright field one that leaves it pale and even."""
        if is_bright_field(sample):
            return cls(1.0, 1.0, PALE)
        return cls.of(sample)

    def gray(self, plane: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """Return a plane as gray.

        >>> Tone(white=0.5, gamma=1).gray(np.array([0.0, 0.25, 0.5, 1.0])).tolist()
        [0, 108, 215, 215]
        """
        shown = np.clip(np.asarray(plane, np.float32) / np.float32(self.white), 0, 1)
        shown = shown ** np.float32(self.gamma) * np.float32(self.palest)
        gray: NDArray[np.uint8] = np.round(shown).astype(np.uint8)
        return gray


def overlaid(
    gray: NDArray[np.uint8],
    outlined: Sequence[tuple[NDArray[np.integer[Any]], Colour]],
    zoom: int = 1,
    width: int | None = None,
) -> NDArray[np.uint8]:
    """Return gray pixels (Y, X) as a picture (zoom Y, zoom X, 3) with the outlines of objects.

    ``outlined`` are label images (Y, X) and the colour of each; later ones lie over earlier ones.
    Outlines are ``width`` px of the picture wide. Default: 1, and 1 more for each 4 of ``zoom``.
    """
    picture = magnified(np.repeat(gray[..., np.newaxis], 3, axis=2), zoom)
    wide = 1 + zoom // 4 if width is None else width
    for labels, colour in outlined:
        picture[inner_outlines(magnified(labels, zoom), wide)] = colour
    return picture


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
