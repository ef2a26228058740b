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

__all__ = ["WINDOW", "make_labels", "windows_of"]

_CHUNK = 512  # px: what is decoded at a time
WINDOW = 2048
"""Edge in px of what is made at a time, and of what is one file."""


def windows_of(shape: tuple[int, ...], edge: int) -> Iterator[Box]:
    """Give the windows of an image (Y, X) with edges of so many px, row by row.

    >>> [box.slices[1] for box in windows_of((5, 12), 10)]
    [slice(0, 10, None), slice(10, 12, None)]
    """
    height, width = shape
    for top in range(0, height, edge):
        for left in range(0, width, edge):
            yield Box(top, min(top + edge, height), left, min(left + edge, width))


def make_labels(
    shape: tuple[int, int], make: Callable[[Box], Labels], folder: Path | None = None
) -> Labels | LazyLabels:
    """Return the label image (Y, X) whose windows ``make`` returns, int32.

    With ``folder``, in whose place it comes, it is made there, as a Zarr array that is read
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
            shards=(WINDOW, WINDOW),
        )
    except OSError as error:
        raise output_error(folder, error) from error
    for box in windows_of(shape, WINDOW):
        part = make(box)
        try:
            array[box.slices] = part
        except OSError as error:
            raise output_error(folder, error) from error
    made: LazyLabels = array
    return made
