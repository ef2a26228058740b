"""The edge length of a pixel in um, from what files say in many units, if it can be true."""

from __future__ import annotations

import math

__all__ = ["square_pixel", "um_per_unit"]

_UM = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "angstrom": 1e-4,
    "a": 1e-4, "in": 25400.0, "pt": 25400.0 / 72,
    "meter": 1e6, "metre": 1e6, "millimeter": 1e3, "centimeter": 1e4, "nanometer": 1e-3,
    "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometers": 1.0, "micrometre": 1.0,
    "inch": 25400.0, "inches": 25400.0, "cmeter": 1e4,
}  # fmt: skip


def um_per_unit(unit: str) -> float | None:
    r"""Return how many um a unit of length is, or None for "pixel" and what is not known.

    Both signs for micro and the escape that ImageJ writes for it are understood.

    >>> um_per_unit("nm"), um_per_unit("\\u00B5m"), um_per_unit("pixel")
    (0.001, 1.0, None)
    """
    name = unit.strip().replace("\\u00B5", "u").replace("\\u00b5", "u")
    name = name.replace("\u00b5", "u").replace("\u03bc", "u")
    name = name.replace("\u00c5", "angstrom").replace("\u212b", "angstrom")
    return _UM.get(name.casefold())


def square_pixel(
    x: float | None, y: float | None, source: str, smallest: float = 0.01, largest: float = 100.0
) -> tuple[float | None, str]:
    """Return the pixel size in um, or None, and a note on what was decided.

    Pixels that are not square by more than 1 % get the edge of a square of the same area, which
    keeps areas right. A size outside ``smallest..largest`` um or with sides that differ more
    than twofold cannot be true of a microscope (Bio-Formats writes 10000 um where a size was
    never set) and is not used.

    >>> square_pixel(0.5, 0.5, "OME-XML")
    (0.5, 'pixel size from OME-XML')
    >>> square_pixel(0.5, 0.6, "OME-XML")[1]
    'pixels of 0.5 x 0.6 um (OME-XML) are not square: 0.5477 um keeps the area'
    >>> square_pixel(10000, 10000, "OME-XML")
    (None, 'pixel size of 10000 um (OME-XML) cannot be right and is not used')
    """
    x = y if x is None else x
    y = x if y is None else y
    if x is None or y is None:
        return None, ""
    if not (math.isfinite(x) and math.isfinite(y)) or x <= 0 or y <= 0:
        return None, ""
    shown = f"{x:.5g} um" if x == y else f"{x:.5g} x {y:.5g} um"
    if not (smallest <= min(x, y) and max(x, y) <= min(largest, 2 * min(x, y))):
        return None, f"pixel size of {shown} ({source}) cannot be right and is not used"
    if abs(x - y) <= 0.01 * x:
        return x, f"pixel size from {source}"
    edge = math.sqrt(x * y)
    return edge, f"pixels of {shown} ({source}) are not square: {edge:.4g} um keeps the area"
