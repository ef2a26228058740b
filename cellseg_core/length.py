"""Lengths that users give in px or in um."""

from __future__ import annotations

import math
import re
from typing import Any

import attrs

from cellseg_core.errors import ConfigurationError, ImageError

__all__ = ["Length"]

_TEXT = re.compile(r"([+-]?[\d.]+(?:e[+-]?\d+)?)\s*(px|um|µm|μm)?", re.IGNORECASE)


@attrs.frozen
class Length:
    """A distance on the image: so many px, or so many um, which take a pixel size.

    >>> Length.of("1.5um"), Length.of(2)
    (Length(value=1.5, unit='um'), Length(value=2.0, unit='px'))
    >>> Length.of("1.2 um").in_px(0.5)
    2
    """

    value: float
    unit: str = "px"

    @classmethod
    def of(cls, given: Any, what: str = "a distance") -> Length:
        """Return the length that a number (px) or a text such as ``2``, ``2px``, ``1um`` means.

        Raises
        ------
        ConfigurationError
            If it is neither, negative or not finite. ``what`` names it in the message.
        """
        value, unit = math.nan, "px"
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            value = float(given)
        elif isinstance(given, str) and (match := _TEXT.fullmatch(given.strip())):
            unit = "px" if (match[2] or "px").lower() == "px" else "um"
            try:
                value = float(match[1])
            except ValueError:
                value = math.nan
        if not 0 <= value <= 1e9:
            raise ConfigurationError(
                f"{what} is a number of 0 or more, in px (2) or with its unit (1um); got {given!r}"
            )
        return cls(value, unit)

    def in_px(self, pixel_size: float | None, name: str = "") -> float:
        """Return it in px; one in um is rounded to whole px.

        Raises
        ------
        ImageError
            If the pixel size is needed and not known, or the length is under half a pixel.
        """
        if self.unit == "px":
            return self.value
        about = f"{name}: " if name else ""
        if pixel_size is None:
            raise ImageError(
                f"{about}the image does not say how large its pixels are, so {self.value:g} um "
                "cannot be turned into px. Give the size with --pixel-size UM, or the distance in "
                "px."
            )
        pixels = math.floor(self.value / pixel_size + 0.5)
        if self.value and not pixels:
            raise ImageError(
                f"{about}{self.value:g} um is less than half a pixel, which is {pixel_size:g} um "
                "wide. Give a longer distance, or 0."
            )
        return pixels
