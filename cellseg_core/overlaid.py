"""Outlines on the nuclear image, as pictures of a result show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.diameter import is_bright_field
from cellseg_core.outlines import inner_outlines

__all__ = ["CELL", "NUCLEUS", "Colour", "Tone", "magnified", "overlaid"]

Colour = tuple[int, int, int]

# Seen by people of any colour vision on gray: orange for nuclei, blue for grown cells.
NUCLEUS: Colour = (255, 170, 0)
CELL: Colour = (60, 160, 255)

_WHITE = 215  # below 255, so that outlines stand out on bright nuclei
_PALE = 165  # the same where the background is bright
_DIMMEST_WHITE = 0.02


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
    gamma: float = 0.6
    palest: int = _WHITE

    @classmethod
    def of(cls, sample: NDArray[np.floating[Any]], gamma: float = 0.6) -> Tone:
        """Return the tone for an image of which ``sample`` is a part or a thinned copy.

        An image that is dim is shown brighter, so that its nuclei can be seen.
        """
        return cls(max(_DIMMEST_WHITE, float(np.percentile(sample, 99.8))), gamma)

    @classmethod
    def suited(cls, sample: NDArray[np.floating[Any]]) -> Tone:
        """Return the same, and for a bright field one that leaves it pale and even."""
        if is_bright_field(sample):
            return cls(1.0, 1.0, _PALE)
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
    """Return a plane (Y, X, ...) in which each pixel is a square of ``zoom`` px."""
    return plane.repeat(zoom, axis=0).repeat(zoom, axis=1) if zoom > 1 else plane
