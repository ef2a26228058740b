"""Pictures as they stand in a page: encoded small, as data URIs, the same bytes every time."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.painting import CELL, NUCLEUS, Colour

__all__ = ["heat", "jpeg", "line_png", "palette_png", "viridis"]

_QUALITY = 80


def jpeg(gray: NDArray[np.uint8], quality: int = _QUALITY) -> str:
    """Return gray pixels (Y, X) as a JPEG."""
    return _uri(_picture(gray), "JPEG", quality=quality)


def line_png(lines: NDArray[np.bool_], colour: Colour) -> str:
    """Return a plane (Y, X) that shows one colour where it is True, and what is under it."""
    picture = _picture(lines.astype(np.uint8), [(0, 0, 0), colour])
    return _uri(picture, "PNG", bits=1, transparency=0)


def palette_png(picture: NDArray[np.uint8]) -> str:
    """Return a picture (Y, X, 3) of grays and of the two colours of outlines as a PNG."""
    gray = picture[..., 0].copy()
    palette: list[Colour] = [(n, n, n) for n in range(256)]
    for entry, colour in ((254, NUCLEUS), (255, CELL)):
        gray[(picture == colour).all(axis=2)] = entry
        palette[entry] = colour
    return _uri(_picture(gray, palette), "PNG", optimize=True)


def heat(values: NDArray[np.floating[Any]], low: float, high: float) -> str:
    """Return values (Y, X) from dark violet (``low``) to yellow (``high``); NaN is pale gray."""
    span = high - low if high > low else 1.0
    known = np.isfinite(values)
    scaled = np.clip((np.where(known, values, low) - low) / span, 0, 1)
    places = np.where(known, 1 + np.round(scaled * 254), 0).astype(np.uint8)
    return _uri(_picture(places, [(233, 236, 239), *viridis()]), "PNG", optimize=True)


@cache
def viridis() -> list[Colour]:
    """Return 255 colours that any colour vision, and gray print, tells from dark to light."""
    from matplotlib import colormaps

    table = np.round(colormaps["viridis"](np.linspace(0, 1, 255))[:, :3] * 255).astype(int)
    return [(int(r), int(g), int(b)) for r, g, b in table]


def _picture(pixels: NDArray[np.uint8], palette: list[Colour] | None = None) -> Any:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette([value for colour in palette for value in colour])
    return picture


def _uri(picture: Any, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"
