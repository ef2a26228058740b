"""The nuclear stain of an image as every method saw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellseg_core.config import RunConfig
from cellseg_core.diameter import is_bright_field
from cellseg_core.image import Image
from cellseg_core.normalize import Brightness, row_bands
from cellseg_core.scaled import view

__all__ = ["nuclear_stain"]


def nuclear_stain(image: Image, config: RunConfig, brightness: Brightness) -> NDArray[np.float32]:
    """Return the nuclear plane (Y, X), 0 to 1, on the brightness scale of the runs, nuclei bright.

    Raises
    ------
    ChannelError
        If a nuclear channel of ``config`` is not in the image.
    ImageError
        If the image cannot be read.
    """
    scaled, _ = view(image, config.nuclear, (), brightness)
    plane = np.empty(scaled.shape, np.float32)
    for rows in row_bands(scaled.shape):
        plane[rows] = scaled.read(rows)[0]
    if is_bright_field(scaled.sample()[0]):
        np.subtract(1, plane, out=plane)
    return plane
