"""Pictures of a crop: the nuclear stain, outlines in lines of several kinds, and a scale bar."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.outlines import inner_outlines
from cellseg_core.painting import DIMMEST_WHITE, GAMMA, NUCLEUS, PALE, WHITE, magnified, reduced

__all__ = ["LINES", "Line", "Picture", "draw_crop"]

Line = Literal["same", "other", "truth", "missed"]

LINES: dict[Line, tuple[int, int, int]] = {
    "same": NUCLEUS,
    "other": (255, 90, 230),
    "truth": (70, 190, 255),
    "missed": (70, 190, 255),
}
"""Colours that any colour vision tells apart on gray; ``other`` is dashed, ``missed`` dotted."""

_WIDTH = 320  # px of a picture, about
_LINE = 3  # px of an outline
_BAR = 250  # the entry of the scale bar in the palette, and of its edge
_EDGE = 251


@attrs.frozen
class Picture:
    """A picture as it stands in a page.

    ``uri`` is a PNG as a data URI; ``width`` and ``height`` are in px.
    """

    uri: str
    width: int
    height: int


def draw_crop(
    stain: NDArray[np.floating[Any]],
    outlines: Sequence[tuple[NDArray[np.integer[Any]], Line]] = (),
    bar: float | None = None,
) -> Picture:
    """Return the picture of a crop.

    The stain (Y, X), 0 to 1, is shown from 0 to its 99.8th percentile, in fluorescence with the
    exponent 0.6, so that dim nuclei can be seen. Pixels are squares, magnified to about 320 px, or
    reduced. Objects of each label image (Y, X) are outlined along their inside, later ones over
    earlier ones. ``bar`` is the length in px of the scale bar.
    """
    from PIL import Image as Pillow

    extent = max(stain.shape)
    step = max(1, round(extent / (1.5 * _WIDTH)))
    zoom = max(1, round(_WIDTH / extent))
    gray = reduced(np.asarray(stain, np.float64), step)
    white = max(DIMMEST_WHITE, float(np.percentile(stain, 99.8)))
    gray = np.minimum(gray / white, 1)
    bright = float(np.median(gray)) > 0.6
    gray = gray * PALE if bright else gray**GAMMA * WHITE
    picture = magnified(np.round(gray).astype(np.uint8), zoom)
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for labels, line in outlines:
        entry = WHITE + 1 + list(LINES).index(line)
        palette[entry] = LINES[line]
        large = magnified(labels[::step, ::step], zoom)
        picture[inner_outlines(large, _LINE) & _strokes(picture.shape, line)] = entry
    palette[_BAR], palette[_EDGE] = (255, 255, 255), (0, 0, 0)
    if bar is not None:
        _draw_bar(picture, bar * zoom / step)
    drawn = Pillow.fromarray(picture)
    drawn.putpalette(palette.tobytes())
    stream = io.BytesIO()
    drawn.save(stream, "PNG", optimize=True)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width = picture.shape
    return Picture(f"data:image/png;base64,{text}", width, height)


def _strokes(shape: tuple[int, ...], line: Line) -> NDArray[np.bool_]:
    """Return the pixels (Y, X) in which a line of this kind is drawn."""
    y, x = np.indices(shape)
    if line in ("same", "truth"):
        return np.ones(shape, bool)
    if line == "other":
        dashes: NDArray[np.bool_] = (y // 6 + x // 6) % 2 == 0
        return dashes
    dots: NDArray[np.bool_] = (y // 4 + x // 4) % 2 == 0
    return dots


def _draw_bar(picture: NDArray[np.uint8], length: float) -> None:
    """Draw a white bar with a black edge into the lower left corner."""
    height, width = picture.shape
    long, thick, margin = round(length), max(2, height // 60), max(3, height // 40)
    bottom, right = height - margin, min(width, margin + long)
    picture[max(0, bottom - thick - 1) : bottom + 1, margin - 1 : right + 1] = _EDGE
    picture[max(0, bottom - thick) : bottom, margin:right] = _BAR
