"""What a preview is made of: a row of panels for each segmenter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.image import Image
from cellseg_core.protocols import Labels
from cellseg_core.tiling import Box

__all__ = ["Panel", "Preview", "Row"]


@attrs.frozen(eq=False, kw_only=True)
class Panel:
    """The crop under one choice of settings.

    Attributes
    ----------
    number
        From 1 on, over all rows.
    segmenter, diameter, brightness
        The settings; the diameter is in px.
    settings
        What to change in the :class:`~cellseg_core.config.RunConfig` to get this in a run; nothing
        for what a run does by itself.
    nuclei, cells
        Label images (Y, X) of the crop; ids are unique. None if it failed.
    count
        How many nuclei have their centre in the crop.
    failed
        Why there is nothing.
    """

    number: int
    segmenter: str
    diameter: float
    brightness: float
    settings: Mapping[str, Any]
    nuclei: Labels | None = None
    cells: Labels | None = None
    count: int = 0
    failed: str | None = None

    @property
    def by_default(self) -> bool:
        """Return whether a run does this by itself."""
        return not self.settings


@attrs.frozen(eq=False, kw_only=True)
class Row:
    """What one segmenter makes of the crop.

    ``diameter`` in px is what a run takes by itself, ``known_from`` how that is known. ``failed``
    says why there is no panel.
    """

    segmenter: str
    diameter: float = math.nan
    known_from: str = ""
    panels: tuple[Panel, ...] = ()
    failed: str | None = None


@attrs.frozen(eq=False, kw_only=True)
class Preview:
    """A crop under several settings; :func:`~cellseg_core.contact_sheet.draw_sheet` draws it.

    Attributes
    ----------
    image
        The image.
    box
        Where the crop is.
    stain
        The crop (Y, X) of the nuclear channels as they are: 1 is white at a brightness of 1.
    overview
        The whole image (y, x), thinned, in [0, 1].
    nuclear
        Names of the nuclear channels.
    rows
        A row for each segmenter.
    notes
        What the user should know, in full sentences.
    """

    image: Image
    box: Box
    stain: NDArray[np.float32]
    overview: NDArray[np.float32]
    nuclear: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def panels(self) -> list[Panel]:
        """Return the panels of all rows, by their numbers."""
        return [panel for row in self.rows for panel in row.panels]
