"""How large a file may say that its image is: a few bytes can promise more than a machine holds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from cellseg_core.address import Location
from cellseg_core.errors import ConfigurationError, ImageError

__all__ = ["check_believable", "check_decoded", "check_size"]

_PIXELS = "CELLSEG_MAX_PIXELS"
_DECODED = "CELLSEG_MAX_DECODE_GB"
_MOST_PIXELS = 1e11  # of one plane; the largest slides have a tenth of it
_MOST_DECODED = 4.0  # GB
_MOST_PLANES = 1_000_000


def check_size(where: Location | str, shape: Sequence[int], y: int, x: int) -> None:
    """Check what a file says of its size, before memory is taken for its planes.

    Parameters
    ----------
    where
        The file, for messages.
    shape, y, x
        Size of each stored axis, and the numbers of the axes of rows and columns.

    Raises
    ------
    ImageError
        If there are more than a million planes, or one has more pixels than the environment
        variable ``CELLSEG_MAX_PIXELS`` says (default: 1e11).

    >>> check_size("a.tif", (3, 10**6, 10**6), 1, 2)
    Traceback (most recent call last):
    cellseg_core.errors.ImageError: a.tif says that it is 1,000,000 x 1,000,000 px, and up to \
1e+11 px a plane are read. If that is so, set the environment variable CELLSEG_MAX_PIXELS=1e+12; \
otherwise the file is damaged: copy it again from where it came.
    """
    pixels = shape[y] * shape[x]
    planes = math.prod(shape[axis] for axis in range(len(shape)) if axis not in (y, x))
    if planes > _MOST_PLANES:
        raise ImageError(
            f"{where} says that it has {planes:,} planes, and up to {_MOST_PLANES:,} are read. The "
            "file is damaged: copy it again from where it came, or save the wanted part."
        )
    if pixels > _limit(_PIXELS, _MOST_PIXELS):
        raise ImageError(
            f"{where} says that it is {shape[y]:,} x {shape[x]:,} px, and up to "
            f"{_limit(_PIXELS, _MOST_PIXELS):g} px a plane are read. If that is so, set the "
            f"environment variable {_PIXELS}={pixels:.3g}; otherwise the file is damaged: copy it "
            "again from where it came."
        )


def check_decoded(where: Location | str, shape: Sequence[int], itemsize: int) -> None:
    """Check the size of what is decoded in one piece: a strip, a tile, a chunk, a picture.

    ``shape`` is its size on each axis, ``itemsize`` the bytes of a value.

    Raises
    ------
    ImageError
        If it is larger than the environment variable ``CELLSEG_MAX_DECODE_GB`` says (default: 4).
    """
    size = math.prod(shape) * itemsize / 1e9
    if size > _limit(_DECODED, _MOST_DECODED):
        raise ImageError(
            f"{where} is stored in pieces of {' x '.join(map(str, shape))} values, {size:,.1f} GB "
            f"each once decoded, and up to {_limit(_DECODED, _MOST_DECODED):g} GB are. If the "
            f"memory suffices, set the environment variable {_DECODED}={math.ceil(size)}; or save "
            "the image in tiles, as a pyramidal OME-TIFF has."
        )


def check_believable(path: Path, shape: Sequence[int], bits: float, most: float) -> None:
    """Check that a compressed file can hold the pixels that it promises.

    Parameters
    ----------
    path
        The file.
    shape
        What it promises, rows and columns first.
    bits
        Of a pixel.
    most
        To how many bytes its compression makes one at the most.

    Raises
    ------
    ImageError
        If that is more than there can be.
    """
    stored = path.stat().st_size
    if math.prod(shape) * bits / 8 > stored * most:
        raise ImageError(
            f"{path} says that it is {shape[0]:,} x {shape[1]:,} px, and its {stored:,} bytes "
            "cannot hold so many. The file is damaged: copy it again from where it came."
        )


def _limit(name: str, default: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        limit = float(text or default)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise ConfigurationError(f"the environment variable {name} is a number over 0; got {text}")
    return limit
