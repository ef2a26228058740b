"""A picture of the result: outlines on the nuclear image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ConfigurationError
from cellseg_core.painting import CELL, GAMMA, NUCLEUS, Colour, Tone, overlaid

if TYPE_CHECKING:
    from cellseg_core.label_image import LazyLabels
    from cellseg_core.protocols import Labels
    from cellseg_core.result import Result

__all__ = ["OverlayWriter", "at_least"]


def at_least(low: float, kind: Any, owner: str = "overlay") -> Any:
    """Return a validator of options of a writer: finite numbers from ``low`` on."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value < math.inf:
            whole = "whole number" if kind is int else "number"
            raise ConfigurationError(
                f"{owner}.{attribute.name} is a {whole} of {low:g} or more; got {value!r}"
            )

    return check


@attrs.frozen
class OverlayWriter:
    """Writes ``overlay.png``: the nuclear image at the run's brightness, with outlines.

    An image that is dim on that scale is shown brighter, so that its nuclei can be seen. Nuclei
    are outlined in orange and, where they were grown, cells in blue. Small images are magnified so
    that a nucleus is about ``nucleus`` px wide; large ones reduced to ``longest`` px.

    Parameters
    ----------
    longest
        Longest edge of the picture in px.
    nucleus
        Width of a typical nucleus in the picture in px.
    gamma
        Exponent that lifts dim nuclei into sight; 1 shows the brightness scale as it is.
    """

    longest: int = attrs.field(default=4096, validator=at_least(64, int))
    nucleus: float = attrs.field(default=30, validator=at_least(1, (int, float)))
    gamma: float = attrs.field(default=GAMMA, validator=at_least(0.01, (int, float)))

    def write(self, result: Result, folder: Path) -> list[Path]:
        """Write the picture and return its path."""
        from PIL import Image as Picture

        path = folder / "overlay.png"
        Picture.fromarray(self.draw(result)).save(path, optimize=False)
        return [path]

    def draw(self, result: Result) -> NDArray[np.uint8]:
        """Return the picture (Y, X, 3)."""
        extent = max(result.image.shape)
        zoom = int(np.clip(round(self.nucleus / result.nuclear_diameter), 1, 8))
        zoom = max(1, min(zoom, self.longest // extent))
        step = -(-extent // self.longest)
        plane = result.scaled.every(step)[0]
        kinds: list[tuple[Labels | LazyLabels, Colour]] = [(result.nuclei, NUCLEUS)]
        if result.cells is not result.nuclei:
            kinds.insert(0, (result.cells, CELL))
        return overlaid(
            Tone.of(plane, self.gamma).gray(plane),
            [(labels[::step, ::step], colour) for labels, colour in kinds],
            zoom,
        )
