"""Planes of images as napari shows them: in levels that are read where they are looked at."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cellseg_core.errors import ImageError
from cellseg_core.image import Image, LazyPixels
from cellseg_core.normalize import row_bands

__all__ = ["Level", "levels_of", "mapped"]

_OVERVIEW = 4096
"""Px. A plane of more has levels; one of less is made once and kept, where the file has none."""

_SMALLEST = 1024

Read = Callable[[slice, slice], NDArray[Any]]


@attrs.frozen(eq=False)
class Level:
    """An array (Y, X) that is read window by window, as napari indexes it.

    >>> level = Level((4, 6), np.dtype(int), lambda rows, columns: np.eye(4, 6, dtype=int)[rows,
    ...     columns])
    >>> level[1:3, :3].tolist(), int(level[2, 2]), level[1].tolist()
    ([[0, 1, 0], [0, 0, 1]], 1, [0, 1, 0, 0, 0, 0])
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    read: Read

    @property
    def ndim(self) -> int:
        """Return 2."""
        return 2

    @property
    def size(self) -> int:
        """Return the number of pixels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Return a numpy array for integers and slices, one for each axis or fewer."""
        keys = key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (2 - len(keys))
        windows = []
        for one, length in zip(keys, self.shape, strict=True):
            if not isinstance(one, slice):
                place = range(length)[int(one)]
                one = slice(place, place + 1)
            windows.append(one)
        window = self.read(*windows)
        return window[tuple(slice(None) if isinstance(one, slice) else 0 for one in keys)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        if copy is False:
            raise ValueError("pixels in a file can only be copied into memory")
        return np.asarray(self[:, :], dtype)


def levels_of(image: Image, channel: int) -> list[Level]:
    """Return a channel from its full size down: the levels of the file, or every n-th pixel.

    Nothing is read yet. An image of up to 4096 px has one level.
    """
    full = Level(image.shape, image.dtype, functools.partial(image.read, channel))
    if max(full.shape) <= _OVERVIEW:
        return [full]
    stored = _descending(image.levels, full.shape)
    if stored and max(stored[-1].shape[1:]) <= _OVERVIEW:
        return [full, *(_of_file(image, pixels, channel) for pixels in stored)]
    levels = [full]
    while max(levels[-1].shape) > _OVERVIEW:
        levels.append(_every(full, 2 ** len(levels)))
    levels[-1] = _kept(levels[-1])
    overview, step = levels[-1], 2
    while max(levels[-1].shape) > _SMALLEST:
        levels.append(_every(overview, step))
        step *= 2
    return levels


def mapped(
    levels: Sequence[Level], change: Callable[[NDArray[Any]], NDArray[Any]], dtype: Any
) -> list[Level]:
    """Return the levels with each pixel changed, when it is looked at.

    >>> level = Level((2, 2), np.dtype(int), lambda rows, columns: np.eye(2, dtype=int)[rows,
    ...     columns])
    >>> mapped([level], lambda pixels: pixels + 0.5, np.float64)[0][:, :].tolist()
    [[1.5, 0.5], [0.5, 1.5]]
    """

    def read(level: Level, rows: slice, columns: slice) -> NDArray[Any]:
        return change(level.read(rows, columns))

    return [Level(one.shape, np.dtype(dtype), functools.partial(read, one)) for one in levels]


def _descending(levels: Sequence[LazyPixels], shape: tuple[int, int]) -> list[LazyPixels]:
    """Return the levels that are each smaller than the one before, as napari needs them."""
    kept: list[LazyPixels] = []
    for pixels in levels:
        above = kept[-1].shape[1:] if kept else shape
        if pixels.shape[1] < above[0] and pixels.shape[2] < above[1]:
            kept.append(pixels)
    return kept


def _of_file(image: Image, pixels: LazyPixels, channel: int) -> Level:
    def read(rows: slice, columns: slice) -> NDArray[Any]:
        try:
            return np.asarray(pixels[channel, rows, columns])
        except (OSError, ValueError) as error:
            raise ImageError(f"{image.source}: a smaller level cannot be read: {error}") from error

    _, height, width = pixels.shape
    return Level((int(height), int(width)), np.dtype(pixels.dtype), read)


def _every(level: Level, step: int) -> Level:
    """Return every ``step``-th pixel of a level, read in bands of rows."""

    def read(rows: slice, columns: slice) -> NDArray[Any]:
        down = range(0, level.shape[0], step)[rows]
        across = range(0, level.shape[1], step)[columns]
        out = np.empty((len(down), len(across)), level.dtype)
        if out.size:
            whole = (len(down), max(1, abs(across.step) * len(across) * abs(down.step)))
            for band in row_bands(whole):
                out[band] = level.read(_slice(down[band]), _slice(across))
        return out

    height, width = (-(-length // step) for length in level.shape)
    return Level((height, width), level.dtype, read)


def _slice(wanted: range) -> slice:
    """Return the slice of an array that a range of its indices is."""
    stop = wanted.stop if wanted.stop >= 0 else None
    return slice(wanted.start, stop, wanted.step)


def _kept(level: Level) -> Level:
    """Return the level, read whole when it is looked at first, and kept."""
    lock = threading.Lock()
    whole: list[NDArray[Any]] = []

    def read(rows: slice, columns: slice) -> NDArray[Any]:
        with lock:
            if not whole:
                whole.append(level.read(slice(None), slice(None)))
        return whole[0][rows, columns]

    return Level(level.shape, level.dtype, read)
