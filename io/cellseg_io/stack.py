"""One image whose channels are files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image, LazyPixels
from cellseg_io.tiff import open_plane

__all__ = ["FileStack"]


class FileStack:
    """Single-channel TIFFs as the channels of one image; each is looked at when first needed.

    A :class:`~cellseg_io.lazy.PlaneSource`. ``shape`` is (Y, X) of every file; values are
    converted to ``dtype``.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.paths, self.shape, self.dtype = tuple(paths), shape, dtype
        self._opened: dict[int, LazyPixels] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may work in another folder.
        paths = tuple(path.absolute() for path in self.paths)
        return FileStack, (paths, self.shape, self.dtype)

    def add(self, channel: int, image: Image) -> None:
        """Keep what is already known of one file."""
        self._opened[channel] = image.pixels

    def window(self, channel: int, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Return a new array with rows ``y0:y1`` and columns ``x0:x1`` of one channel."""
        if channel not in self._opened:
            image = open_plane(self.paths[channel], "plane")
            if image.shape != self.shape or image.dtype != self.dtype:
                raise ImageError(
                    f"{self.paths[channel]} is {image.shape} px, {image.dtype}; the first plane of "
                    f"its image, {self.paths[0]}, is {self.shape} px, {self.dtype}. All planes "
                    "must be alike."
                )
            self._opened[channel] = image.pixels
        window: NDArray[Any] = self._opened[channel][0, y0:y1, x0:x1]
        return window.astype(self.dtype, copy=False)
