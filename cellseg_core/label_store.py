"""Label images that are made window by window: in memory, or on disk where they are large."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cellseg_core.label_image import LazyLabels
from cellseg_core.protocols import Labels
from cellseg_core.store import output_error
from cellseg_core.tiling import Box

__all__ = ["make_labels", "windows_of"]

_CHUNK = 512  # px: what is decoded at a time
_WINDOW = 2048  # px: what is made at a time, and one file


def windows_of(shape: tuple[int, int]) -> Iterator[Box]:
    """Give the windows, row by row, in which a large label image is made."""
    for top in range(0, shape[0], _WINDOW):
        for left in range(0, shape[1], _WINDOW):
            yield Box(top, min(top + _WINDOW, shape[0]), left, min(left + _WINDOW, shape[1]))


def make_labels(
    shape: tuple[int, int], make: Callable[[Box], Labels], folder: Path | None = None
) -> Labels | LazyLabels:
    """Return the label image (Y, X) whose windows ``make`` returns, int32.

    With ``folder``, which must not lie in use, it is made there, as a Zarr array that is read
    window by window; without, in memory.

    Raises
    ------
    OutputError
        If the folder cannot be written.

    >>> make_labels((2, 3), lambda box: np.full(box.shape, 7, np.int32)).tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    if folder is None:
        return make(Box(0, shape[0], 0, shape[1]))
    import zarr

    try:
        if folder.exists():
            shutil.rmtree(folder)
        array = zarr.create_array(
            folder,
            shape=shape,
            dtype=np.int32,
            chunks=(_CHUNK, _CHUNK),
            shards=(_WINDOW, _WINDOW),
        )
        for box in windows_of(shape):
            array[box.slices] = make(box)
    except OSError as error:
        raise output_error(folder, error) from error
    made: LazyLabels = array
    return made
